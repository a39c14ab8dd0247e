"""What the schema must be like, whatever it holds: so that any cluster can be sharded by ``cluster_id``."""

import pytest
from sqlalchemy import Index, PrimaryKeyConstraint, Sequence, Table, UniqueConstraint

from openclaw_store.models import Base

TABLES = Base.metadata.sorted_tables


@pytest.fixture(params=TABLES, ids=lambda table: table.name)
def table(request: pytest.FixtureRequest) -> Table:
    return request.param  # type: ignore[no-any-return]


def test_there_are_tables_to_look_at() -> None:
    assert {table.name for table in TABLES} >= {"clusters", "nodes", "tasks", "changes"}


def test_every_key_and_index_starts_with_the_cluster(table: Table) -> None:
    keys: list[PrimaryKeyConstraint | UniqueConstraint | Index] = [table.primary_key, *table.indexes]
    keys += [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
    assert {str(key.name): next(iter(key.columns)).name for key in keys} == {
        str(key.name): "cluster_id" for key in keys
    }


def test_every_table_has_a_primary_key(table: Table) -> None:
    assert table.primary_key.columns


def test_every_foreign_key_stays_within_the_cluster(table: Table) -> None:
    for key in table.foreign_key_constraints:
        first = key.elements[0]
        assert (first.parent.name, first.column.name) == ("cluster_id", "cluster_id")


def test_no_value_is_made_by_the_database(table: Table) -> None:
    assert table.autoincrement_column is None
    for column in table.columns:
        assert not isinstance(column.default, Sequence)
        assert (column.identity, column.computed, column.server_default, column.server_onupdate) == (None,) * 4


def test_every_constraint_and_index_has_a_name_that_fits_every_engine(table: Table) -> None:
    names = [key.name for key in table.constraints] + [index.name for index in table.indexes]
    assert all(names)
    assert max(len(str(name)) for name in names) <= 63  # PostgreSQL's limit; MySQL allows one more
