"""Statements that each engine writes in its own way: lists, the heads of the queues, inserting what is missing."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    Integer,
    Select,
    String,
    Table,
    Text,
    Update,
    bindparam,
    column,
    func,
    select,
    true,
)
from sqlalchemy.dialects.sqlite import Insert, insert

from openclaw_store.models import TaskModel
from openclaw_store.models.base import Kept

_encode: Final = msgspec.json.Encoder().encode


def any_of(operand: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
    """Return ``operand IN (list)``, the list bound as one JSON text: the statement is the same for every length."""
    values = func.json_each(bindparam(parameter, type_=Text)).table_valued("value")
    return operand.in_(select(values.c.value))


def bind_list(values: Sequence[Any]) -> str:
    """Return a list of strings or integers as the parameter of ``any_of``."""
    return _encode(list(values)).decode()


def _queue_heads() -> Select[Any]:
    """Return the best ``limit`` entries of each queue.

    SQLite knows no LATERAL, and a join would either read each queue to its end or look every task up in its table.
    But the arguments of a table-valued function may depend on the tables before it: a scalar subquery reads the
    head of one queue, in the index's order and from the index alone, and hands it over as one JSON text. The cost
    depends on the number of queues and on ``limit``, not on how many tasks wait.
    """
    queue = TaskModel.__table__.alias("queue")
    wanted = func.json_each(bindparam("requirements", type_=Text)).table_valued(
        column("value", BigInteger), name="wanted"
    )
    best = (
        select(queue.c.queue_rank, queue.c.task_id)
        .where(
            queue.c.cluster_id == bindparam("cluster_id", type_=Integer),
            queue.c.requirement_id == wanted.c.value,
            queue.c.queue_rank.is_not(None),  # word for word the condition of the partial index
        )
        .order_by(queue.c.queue_rank, queue.c.task_id)
        .limit(bindparam("limit", type_=Integer))
        .correlate(wanted)
        .subquery("best")
    )
    as_json = select(func.json_group_array(func.json_array(best.c.queue_rank, best.c.task_id)))
    heads = func.json_each(as_json.scalar_subquery()).table_valued("value", name="heads")
    return select(
        wanted.c.value.label("requirement_id"),
        func.json_extract(heads.c.value, "$[0]", type_=Kept(BigInteger())).label("queue_rank"),
        func.json_extract(heads.c.value, "$[1]", type_=Kept(String())).label("task_id"),
    ).select_from(wanted.join(heads, true()))


QUEUE_HEADS: Final = _queue_heads()


def insert_missing(table: Table) -> Insert:
    """Return the statement that inserts a row unless its primary key is there."""
    return insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key.columns))


@cache
def incrementing(statement: Update, column: Column[int]) -> Executable:
    """Return ``statement``, which updates one row, so that it also adds one to ``column`` and tells the sum."""
    return statement.values({column: column + 1}).returning(column)
