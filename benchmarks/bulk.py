"""Millions of tasks in minutes: the library stores a few, and the database itself multiplies their rows.

So every row is one that the library has written, but for its id and its times.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Insert,
    String,
    cast,
    func,
    insert,
    literal,
    literal_column,
    select,
    true,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from openclaw_store import Database
from openclaw_store.models import ClusterModel, TaskModel, table_of

TASKS: Final = table_of(TaskModel)
CLUSTERS: Final = table_of(ClusterModel)

_MINE: Final = TASKS.c.cluster_id == select(func.min(CLUSTERS.c.cluster_id)).scalar_subquery()
"""There is one cluster. Without it the primary key finds no template, and every step reads the whole table."""

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+asyncmy"}
_FIRST: Final = 10**9
_STEP: Final = 5_000
"""Copies of each template in one transaction: below a hundred thousand rows, so that progress shows."""
_MOVED: Final = ("submitted_at", "scheduled_at", "started_at", "completed_at", "queue_rank", "due_at")
"""Columns of microseconds: a copy's are later than those of the copy before."""

Tell = Callable[[int], None]


async def multiply(
    address: str, templates: Sequence[str], count: int, *, days_ago: float = 0, tell: Tell = lambda _: None
) -> None:
    """Store ``count`` copies of tasks beside the templates, count them in the cluster, and forget the history.

    Nobody else may have the database open: the copies were never in the history, so it begins afresh after them.

    Args:
        address: of the database.
        templates: ids of tasks of one status.
        count: rounded up to the same number for each template.
        days_ago: by how much the copies are older than the templates.
        tell: is told how many there are so far.
    """
    engine = _engine(address)
    copies = -(-count // len(templates))
    offset = round(days_ago * 86_400_000_000)
    for first in range(0, copies, _STEP):
        step = min(_STEP, copies - first)
        async with engine.begin() as connection:
            await connection.execute(_copying(templates, first, step, offset))
            await _count(connection, templates, step * len(templates))
        tell((first + step) * len(templates))
    await engine.dispose()
    async with Database(address) as database:
        await database.compact_history(0, 0)


def _engine(address: str) -> AsyncEngine:
    url = make_url(address)
    # It would warn of the cartesian product that the numbers are made of.
    return create_async_engine(url.set(drivername=_DRIVERS[url.get_backend_name()]), enable_from_linting=False)


def _copying(templates: Sequence[str], first: int, step: int, offset: int) -> Insert:
    number = _numbers()
    copied = (
        select(*(_copied(column, literal_column("n", BigInteger) + first, offset) for column in TASKS.columns))
        .select_from(TASKS.join(number, true()))
        .where(_MINE, TASKS.c.task_id.in_(templates), literal_column("n", BigInteger) < step)
        .order_by(literal_column("n"), TASKS.c.task_id)
    )
    return insert(TASKS).from_select(list(TASKS.columns.keys()), copied)


def _copied(column: ColumnElement[Any], number: ColumnElement[int], offset: int) -> ColumnElement[Any]:
    if column is TASKS.c.task_id:
        # As long as an id that the library makes, in the order of submission, and unique by the template's end.
        return literal("task_") + cast(number + _FIRST, String(10)) + func.substr(column, 16)
    if column.key in _MOVED:
        return type_coerce(column, BigInteger) + (number - offset)
    return column


def _numbers() -> CTE:
    """Return the numbers from 0 to 9999, on every engine alike."""
    digits = union_all(*(select(literal_column(str(digit)).label("d")) for digit in range(10))).cte("digits")
    ones, tens, hundreds, thousands = (digits.alias(f"digits_{place}") for place in range(4))
    number = ones.c.d + 10 * tens.c.d + 100 * hundreds.c.d + 1000 * thousands.c.d
    return select(number.label("n")).select_from(ones, tens, hundreds, thousands).cte("numbers")


async def _count(connection: AsyncConnection, templates: Sequence[str], added: int) -> None:
    statement = select(TASKS.c.status).where(_MINE, TASKS.c.task_id == templates[0])
    status = (await connection.execute(statement)).scalar_one()
    counter = CLUSTERS.c[f"{status.value}_tasks"]
    await connection.execute(update(CLUSTERS).values({counter: counter + added}))
