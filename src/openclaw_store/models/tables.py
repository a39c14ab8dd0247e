"""The tables of a cluster."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from openclaw_store.domain.change import Kind, Op
from openclaw_store.domain.checks import MAX_ID, MAX_NAME
from openclaw_store.domain.json import JsonObject, JsonValue
from openclaw_store.domain.node import NodeStatus
from openclaw_store.domain.task import TaskStatus, TaskType
from openclaw_store.models.base import LONG_TEXT, MYSQL, Base, Json, Moment, Names, enumeration, one_of, text_of

_Id = text_of(MAX_ID)
_Name = text_of(MAX_NAME)


def _of_a_cluster() -> ForeignKeyConstraint:
    """Return the foreign key to the cluster, for databases whose check leaves the cluster's row free to be updated.

    MySQL's takes a shared lock on it until the transaction ends, in which the row is then updated: of two writers at
    once one is always a deadlock's victim (440 of 400 units of eight writers were run again, measured).
    """
    return ForeignKeyConstraint(["cluster_id"], ["clusters.cluster_id"]).ddl_if(callable_=_leaves_parents_free)


def _leaves_parents_free(*_given: object, dialect: Dialect, **_more: object) -> bool:
    return dialect.name not in MYSQL


class ClusterModel(Base):
    """A cluster: its name, the head of its history, and how many tasks and nodes have each status.

    The row is locked last in every transaction that changes something: whoever holds it commits next, so revisions
    are dense and in commit order. The counts are written by that same statement, from the change rows.

    ``name`` has no unique key, which could not start with ``cluster_id``; clusters are created by one statement that
    looks for the name and takes the next id, so two creators collide on the primary key.
    """

    __tablename__ = "clusters"
    __table_args__ = ({"postgresql_with": {"fillfactor": 10}},)  # its one row is updated by every commit, in place

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(_Id)
    created_at: Mapped[datetime] = mapped_column(Moment)
    configuration: Mapped[JsonObject] = mapped_column(Json)
    epoch: Mapped[int] = mapped_column(BigInteger)
    """Random; written anew when the database is restored, so that caches notice."""
    revision: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[int] = mapped_column(BigInteger)
    """The random identity of ``revision``; also on the revision's first change row."""
    changed_at: Mapped[datetime] = mapped_column(Moment)
    compact_revision: Mapped[int] = mapped_column(BigInteger)
    """Change rows below this revision may be gone."""
    fence: Mapped[int] = mapped_column(Integer)
    """Attempts and incarnations that are given out are above it."""
    requirement_count: Mapped[int] = mapped_column(Integer)
    pending_tasks: Mapped[int] = mapped_column(BigInteger)
    scheduled_tasks: Mapped[int] = mapped_column(BigInteger)
    running_tasks: Mapped[int] = mapped_column(BigInteger)
    completed_tasks: Mapped[int] = mapped_column(BigInteger)
    failed_tasks: Mapped[int] = mapped_column(BigInteger)
    cancelled_tasks: Mapped[int] = mapped_column(BigInteger)
    timeout_tasks: Mapped[int] = mapped_column(BigInteger)
    online_nodes: Mapped[int] = mapped_column(BigInteger)
    offline_nodes: Mapped[int] = mapped_column(BigInteger)
    busy_nodes: Mapped[int] = mapped_column(BigInteger)
    maintenance_nodes: Mapped[int] = mapped_column(BigInteger)
    error_nodes: Mapped[int] = mapped_column(BigInteger)


class RequirementModel(Base):
    """An interned set of required skills. The id is a hash of the set, so equal sets share one row without asking."""

    __tablename__ = "requirements"
    __table_args__ = (
        _of_a_cluster(),
        {"sqlite_with_rowid": False},
    )

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    requirement_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    skills: Mapped[tuple[str, ...]] = mapped_column(Names)
    """In alphabetical order."""


class NodeModel(Base):
    """A node's description and status; what changes with every heartbeat or report lies in ``heartbeats``."""

    __tablename__ = "nodes"
    __table_args__ = (
        _of_a_cluster(),
        CheckConstraint("max_concurrent_tasks >= 0", name="slots"),
        one_of("status", NodeStatus),
    )

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    node_id: Mapped[str] = mapped_column(_Id, primary_key=True)
    hostname: Mapped[str] = mapped_column(_Name)
    platform: Mapped[str] = mapped_column(_Name)
    arch: Mapped[str] = mapped_column(_Name)
    status: Mapped[NodeStatus] = mapped_column(enumeration(NodeStatus))
    available_skills: Mapped[tuple[str, ...]] = mapped_column(Names)
    max_concurrent_tasks: Mapped[int] = mapped_column(Integer)
    ip_address: Mapped[str | None] = mapped_column(_Id)
    tailscale_ip: Mapped[str | None] = mapped_column(_Id)
    port: Mapped[int | None] = mapped_column(Integer)
    tags: Mapped[tuple[str, ...]] = mapped_column(Names)
    registered_at: Mapped[datetime] = mapped_column(Moment)
    incarnation: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)


class HeartbeatModel(Base):
    """When a node was last heard of, its loads and its counters. Not history, and never indexed beyond its key."""

    __tablename__ = "heartbeats"
    __table_args__ = (
        ForeignKeyConstraint(["cluster_id", "node_id"], ["nodes.cluster_id", "nodes.node_id"], ondelete="CASCADE"),
    )

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    node_id: Mapped[str] = mapped_column(_Id, primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(Moment)
    cpu_usage: Mapped[float] = mapped_column(Double)
    memory_usage: Mapped[float] = mapped_column(Double)
    disk_usage: Mapped[float] = mapped_column(Double)
    successful_tasks: Mapped[int] = mapped_column(Integer)
    failed_tasks: Mapped[int] = mapped_column(Integer)
    execution_us: Mapped[int] = mapped_column(BigInteger)


class TaskModel(Base):
    """A task.

    Three columns are derived, for the indexes: ``requirement_id`` from the required skills; ``queue_rank``, set while
    the task may be claimed; and ``due_at``, when the clock next matters to it: a waiting task becomes ready, a lease
    or a timeout runs out, a finished task grows old.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["cluster_id", "requirement_id"], ["requirements.cluster_id", "requirements.requirement_id"]
        ),
        CheckConstraint("priority BETWEEN 0 AND 3", name="priority"),
        one_of("task_type", TaskType),
        one_of("status", TaskStatus),
        # The claim reads only this index: first the requirement, then the rank; the id makes it cover the query.
        Index(
            "ix_tasks_queue",
            "cluster_id",
            "requirement_id",
            "queue_rank",
            "task_id",
            sqlite_where=text("queue_rank IS NOT NULL"),
            postgresql_where=text("queue_rank IS NOT NULL"),
        ),
        Index("ix_tasks_status", "cluster_id", "status", "due_at"),
        Index(
            "ix_tasks_node",
            "cluster_id",
            "assigned_node",
            "status",
            sqlite_where=text("assigned_node IS NOT NULL"),
            postgresql_where=text("assigned_node IS NOT NULL"),
        ),
        Index(
            "ix_tasks_user",
            "cluster_id",
            "user_id",
            "task_id",
            sqlite_where=text("user_id IS NOT NULL"),
            postgresql_where=text("user_id IS NOT NULL"),
        ),
        Index(
            "uq_tasks_idempotency",
            "cluster_id",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    task_id: Mapped[str] = mapped_column(_Id, primary_key=True)
    task_type: Mapped[TaskType] = mapped_column(enumeration(TaskType))
    name: Mapped[str] = mapped_column(_Name)
    description: Mapped[str] = mapped_column(LONG_TEXT)
    required_skills: Mapped[tuple[str, ...]] = mapped_column(Names)
    optional_skills: Mapped[tuple[str, ...]] = mapped_column(Names)
    status: Mapped[TaskStatus] = mapped_column(enumeration(TaskStatus))
    priority: Mapped[int] = mapped_column(SmallInteger)
    assigned_node: Mapped[str | None] = mapped_column(_Id)
    submitted_at: Mapped[datetime] = mapped_column(Moment)
    scheduled_at: Mapped[datetime | None] = mapped_column(Moment)
    started_at: Mapped[datetime | None] = mapped_column(Moment)
    completed_at: Mapped[datetime | None] = mapped_column(Moment)
    parameters: Mapped[JsonObject] = mapped_column(Json)
    timeout: Mapped[float | None] = mapped_column(Double)
    retry_count: Mapped[int] = mapped_column(Integer)
    max_retries: Mapped[int] = mapped_column(Integer)
    user_id: Mapped[str | None] = mapped_column(_Id)
    affinity_tags: Mapped[tuple[str, ...]] = mapped_column(Names)
    result: Mapped[JsonValue] = mapped_column(Json, nullable=True)
    error: Mapped[str | None] = mapped_column(LONG_TEXT)
    metadata_: Mapped[JsonObject] = mapped_column("metadata", Json)
    attempt: Mapped[int] = mapped_column(Integer)
    not_before: Mapped[datetime | None] = mapped_column(Moment)
    lease_expires_at: Mapped[datetime | None] = mapped_column(Moment)
    idempotency_key: Mapped[str | None] = mapped_column(_Id)
    version: Mapped[int] = mapped_column(Integer)
    requirement_id: Mapped[int] = mapped_column(BigInteger)
    queue_rank: Mapped[int | None] = mapped_column(BigInteger)
    due_at: Mapped[datetime | None] = mapped_column(Moment)


class LeaderModel(Base):
    """Who does a job that only one program of a cluster should do at a time, and until when."""

    __tablename__ = "leaders"
    __table_args__ = (_of_a_cluster(),)

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(_Id, primary_key=True)
    holder: Mapped[str] = mapped_column(_Id)
    term: Mapped[int] = mapped_column(BigInteger)
    """+1 whenever another one takes over; what a former leader still tries carries the old one."""
    expires_at: Mapped[datetime] = mapped_column(Moment)


class ListenerModel(Base):
    """A program that hears nodes. Whoever asks for silent nodes must know whether others are behind with storing."""

    __tablename__ = "listeners"
    __table_args__ = (_of_a_cluster(),)

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    listener_id: Mapped[str] = mapped_column(_Id, primary_key=True)
    stored_until: Mapped[datetime] = mapped_column(Moment)
    """Everything that it heard before is in ``heartbeats``."""


class ChangeModel(Base):
    """A row of the history."""

    __tablename__ = "changes"
    __table_args__ = (
        _of_a_cluster(),
        one_of("kind", Kind),
        one_of("op", Op),
        {"sqlite_with_rowid": False},
    )

    cluster_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Moment)
    kind: Mapped[Kind] = mapped_column(enumeration(Kind))
    entity_id: Mapped[str] = mapped_column(_Id)
    op: Mapped[Op] = mapped_column(enumeration(Op))
    old_status: Mapped[str | None] = mapped_column(String(20))
    new_status: Mapped[str | None] = mapped_column(String(20))
    node_id: Mapped[str | None] = mapped_column(_Id)
    attempt: Mapped[int] = mapped_column(Integer)
    token: Mapped[int | None] = mapped_column(BigInteger)
    """Random, on the first row of each revision: a rewritten history has other tokens."""
