"""The tables of a cluster.

Refer to no model here: a revision says what the schema was on its day, and models go on changing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_MYSQL = ("mysql", "mariadb")


def upgrade() -> None:
    """Create the tables, parents first."""
    _create_clusters()
    _create_requirements()
    _create_nodes()
    _create_heartbeats()
    _create_tasks()
    _index_tasks()
    _create_leaders()
    _create_listeners()
    _create_changes()


def downgrade() -> None:
    """Drop the tables, children first."""
    for name in ("changes", "listeners", "leaders", "tasks", "heartbeats", "nodes", "requirements", "clusters"):
        op.drop_table(name)


def _short(length: int) -> sa.types.TypeEngine[str]:
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql").with_variant(exact, *_MYSQL)


def _long() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def _one_of(name: str, column: str, *values: str) -> sa.CheckConstraint:
    # Not IN: SQLite would build a table of the list for each row that it checks.
    return sa.CheckConstraint(" OR ".join(f"{column} = '{value}'" for value in values), name=op.f(name))


def _of_a_cluster(table: str) -> sa.ForeignKeyConstraint:
    # Not on MySQL: its check locks the cluster's row, which every transaction updates at its end. Two writers at once
    # would be a deadlock.
    key = sa.ForeignKeyConstraint(["cluster_id"], ["clusters.cluster_id"], name=op.f(f"fk_{table}_cluster_id_clusters"))
    return key.ddl_if(callable_=lambda *_given, dialect, **_more: dialect.name not in _MYSQL)


def _create_clusters() -> None:
    op.create_table(
        "clusters",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _short(128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("configuration", _long(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("compact_revision", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("requirement_count", sa.Integer(), nullable=False),
        sa.Column("pending_tasks", sa.BigInteger(), nullable=False),
        sa.Column("scheduled_tasks", sa.BigInteger(), nullable=False),
        sa.Column("running_tasks", sa.BigInteger(), nullable=False),
        sa.Column("completed_tasks", sa.BigInteger(), nullable=False),
        sa.Column("failed_tasks", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_tasks", sa.BigInteger(), nullable=False),
        sa.Column("timeout_tasks", sa.BigInteger(), nullable=False),
        sa.Column("online_nodes", sa.BigInteger(), nullable=False),
        sa.Column("offline_nodes", sa.BigInteger(), nullable=False),
        sa.Column("busy_nodes", sa.BigInteger(), nullable=False),
        sa.Column("maintenance_nodes", sa.BigInteger(), nullable=False),
        sa.Column("error_nodes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name=op.f("pk_clusters")),
        postgresql_with={"fillfactor": 10},
    )


def _create_requirements() -> None:
    op.create_table(
        "requirements",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("requirement_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("skills", _long(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "requirement_id", name=op.f("pk_requirements")),
        _of_a_cluster("requirements"),
        sqlite_with_rowid=False,
    )


def _create_nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", _short(128), nullable=False),
        sa.Column("hostname", _short(255), nullable=False),
        sa.Column("platform", _short(255), nullable=False),
        sa.Column("arch", _short(255), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("available_skills", _long(), nullable=False),
        sa.Column("max_concurrent_tasks", sa.Integer(), nullable=False),
        sa.Column("ip_address", _short(128), nullable=True),
        sa.Column("tailscale_ip", _short(128), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("tags", _long(), nullable=False),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "node_id", name=op.f("pk_nodes")),
        _of_a_cluster("nodes"),
        sa.CheckConstraint("max_concurrent_tasks >= 0", name=op.f("ck_nodes_slots")),
        _one_of("ck_nodes_status", "status", "online", "offline", "busy", "maintenance", "error"),
    )


def _create_heartbeats() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node_id", _short(128), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("cpu_usage", sa.Double(), nullable=False),
        sa.Column("memory_usage", sa.Double(), nullable=False),
        sa.Column("disk_usage", sa.Double(), nullable=False),
        sa.Column("successful_tasks", sa.Integer(), nullable=False),
        sa.Column("failed_tasks", sa.Integer(), nullable=False),
        sa.Column("execution_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "node_id", name=op.f("pk_heartbeats")),
        sa.ForeignKeyConstraint(
            ["cluster_id", "node_id"],
            ["nodes.cluster_id", "nodes.node_id"],
            name=op.f("fk_heartbeats_cluster_id_node_id_nodes"),
            ondelete="CASCADE",
        ),
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", _short(128), nullable=False),
        sa.Column("task_type", sa.String(20), nullable=False),
        sa.Column("name", _short(255), nullable=False),
        sa.Column("description", _long(), nullable=False),
        sa.Column("required_skills", _long(), nullable=False),
        sa.Column("optional_skills", _long(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("assigned_node", _short(128), nullable=True),
        sa.Column("submitted_at", sa.BigInteger(), nullable=False),
        sa.Column("scheduled_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("parameters", _long(), nullable=False),
        sa.Column("timeout", sa.Double(), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("user_id", _short(128), nullable=True),
        sa.Column("affinity_tags", _long(), nullable=False),
        sa.Column("result", _long(), nullable=True),
        sa.Column("error", _long(), nullable=True),
        sa.Column("metadata", _long(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", _short(128), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("requirement_id", sa.BigInteger(), nullable=False),
        sa.Column("queue_rank", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("cluster_id", "task_id", name=op.f("pk_tasks")),
        sa.ForeignKeyConstraint(
            ["cluster_id", "requirement_id"],
            ["requirements.cluster_id", "requirements.requirement_id"],
            name=op.f("fk_tasks_cluster_id_requirement_id_requirements"),
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 3", name=op.f("ck_tasks_priority")),
        _one_of(
            "ck_tasks_task_type", "task_type", "interactive", "batch", "compute_intensive", "io_intensive", "daemon"
        ),
        _one_of(
            "ck_tasks_status",
            "status",
            "pending",
            "scheduled",
            "running",
            "completed",
            "failed",
            "cancelled",
            "timeout",
        ),
    )


def _index_tasks() -> None:
    # A claim reads only this index; the id makes it cover the query.
    _index("ix_tasks_queue", ["cluster_id", "requirement_id", "queue_rank", "task_id"], where="queue_rank IS NOT NULL")
    _index("ix_tasks_status", ["cluster_id", "status", "due_at"])
    _index("ix_tasks_node", ["cluster_id", "assigned_node", "status"], where="assigned_node IS NOT NULL")
    _index("ix_tasks_user", ["cluster_id", "user_id", "task_id"], where="user_id IS NOT NULL")
    _index("uq_tasks_idempotency", ["cluster_id", "idempotency_key"], where="idempotency_key IS NOT NULL", unique=True)


def _index(name: str, columns: list[str], *, where: str | None = None, unique: bool = False) -> None:
    # MySQL has no partial indexes: there the whole column is indexed, and NULLs do not clash in a unique one.
    condition = None if where is None else sa.text(where)
    op.create_index(op.f(name), "tasks", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_leaders() -> None:
    op.create_table(
        "leaders",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", _short(128), nullable=False),
        sa.Column("holder", _short(128), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "role", name=op.f("pk_leaders")),
        _of_a_cluster("leaders"),
    )


def _create_listeners() -> None:
    op.create_table(
        "listeners",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("listener_id", _short(128), nullable=False),
        sa.Column("stored_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "listener_id", name=op.f("pk_listeners")),
        _of_a_cluster("listeners"),
    )


def _create_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("entity_id", _short(128), nullable=False),
        sa.Column("op", sa.String(20), nullable=False),
        sa.Column("old_status", sa.String(20), nullable=True),
        sa.Column("new_status", sa.String(20), nullable=True),
        sa.Column("node_id", _short(128), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("cluster_id", "revision", "seq", name=op.f("pk_changes")),
        _of_a_cluster("changes"),
        _one_of("ck_changes_kind", "kind", "task", "node"),
        _one_of("ck_changes_op", "op", "created", "updated", "removed"),
        sqlite_with_rowid=False,
    )
