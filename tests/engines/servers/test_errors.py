"""What a server's errors are taken for, and what is shown of them."""

import asyncio
import logging
import socket
import traceback
from typing import Any

import pytest
from sqlalchemy import insert, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from engines.servers.support import (
    ALL,
    BOTH,
    IMPATIENT,
    MYSQL,
    during,
    end_connection,
    error_of,
    make_items,
    number_of_connection,
    opened,
    product,
    writing,
)
from openclaw_store import (
    BusyError,
    CommitUnknownError,
    ConfigurationError,
    Database,
    DatabaseError,
    ReadOnlyError,
    UnavailableError,
)
from openclaw_store.domain.checks import moment_of
from openclaw_store.domain.json import JsonObject
from openclaw_store.engines import Engine, EngineOptions, Failure, make_engine
from openclaw_store.engines.servers import mysql, mysql_errors, postgresql
from openclaw_store.models import ClusterModel, HeartbeatModel, RequirementModel, table_of

EPOCH = moment_of(0)
_SECRET = "s3cret \"pa'ss#word"
_TAKE = text("UPDATE item SET name = 'y' WHERE id = :id")


@ALL
async def test_a_deadlock_is_a_conflict_for_one_of_two(engine: Engine) -> None:
    await make_items(engine)

    async def take(first: int, second: int, both: asyncio.Barrier) -> None:
        async with writing(engine) as session:
            await session.execute(_TAKE, {"id": first})
            await both.wait()
            await session.execute(_TAKE, {"id": second})
            await session.commit()

    both = asyncio.Barrier(2)
    results = await asyncio.gather(take(1, 2, both), take(2, 1, both), return_exceptions=True)
    errors = [result for result in results if isinstance(result, Exception)]
    assert [engine.classify(error) for error in errors] == [Failure.CONFLICT]
    assert isinstance(engine.translate(errors[0]), BusyError)


@ALL
async def test_a_lock_is_waited_for_up_to_the_timeout(engine: Engine, address: str) -> None:
    await make_items(engine)
    async with writing(engine) as session, opened(address, IMPATIENT) as impatient:
        await session.execute(_TAKE, {"id": 1})
        error = await during(impatient, lambda other: other.execute(_TAKE, {"id": 1}))
        assert impatient.classify(error) is Failure.BUSY
        assert isinstance(impatient.translate(error), BusyError)


@BOTH
@pytest.mark.parametrize("seconds", [0, 0.001, 3e8])
async def test_any_timeout_can_be_set(address: str, seconds: float) -> None:
    async with opened(address, EngineOptions(lock_timeout=seconds)) as engine, writing(engine):
        pass


@BOTH
async def test_a_full_pool_is_busy(address: str) -> None:
    async with opened(address, IMPATIENT) as engine:
        sessions = [AsyncSession(engine.writer) for _ in range(IMPATIENT.readers)]
        for session in sessions:
            await engine.begin(session)
        assert isinstance(await error_of(engine.begin(AsyncSession(engine.writer))), BusyError)
        for session in sessions:
            await session.close()


@BOTH
async def test_a_connection_that_can_neither_begin_nor_roll_back_is_given_up(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any) -> Any:
        raise OSError("the connection is lost")

    async with Database(address) as database:
        pool = database.engine.writer.sync_engine
        monkeypatch.setattr(database.engine, "prepare", break_down)
        monkeypatch.setattr(pool.dialect, "do_rollback", break_down)
        with pytest.raises(UnavailableError):
            await database.unit_of_work().__aenter__()
        assert pool.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue of them
        monkeypatch.undo()


@ALL
async def test_a_row_that_a_constraint_refuses_is_not_shown(engine: Engine) -> None:
    await make_items(engine)
    for statement in (
        "INSERT INTO item VALUES (1, 'the payload')",
        "INSERT INTO item (id) VALUES (NULL)",
        "INSERT INTO leaders VALUES (1, 'the payload', '', NULL, 0)",
    ):
        error = await during(engine, lambda session, one=statement: session.execute(text(one)))  # type: ignore[misc]
        assert engine.classify(error) is Failure.CONSTRAINT
        assert "payload" not in str(engine.translate(error))


@BOTH
async def test_text_that_is_too_long_is_refused_not_cut(engine: Engine) -> None:
    await make_items(engine)
    long = text("INSERT INTO item VALUES (3, :name)")
    error = await during(engine, lambda session: session.execute(long, {"name": "the payload" * 40}))
    assert isinstance(engine.translate(error), DatabaseError)
    assert "payload" not in str(engine.translate(error))


@ALL
async def test_a_statement_that_cannot_be_read_is_not_repeated(engine: Engine) -> None:
    error = await during(engine, lambda session: session.execute(text("SELEC 'the payload'")))
    assert engine.classify(error) is Failure.OTHER
    assert "payload" not in str(engine.translate(error)) or product(engine) == "PostgreSQL"  # it quotes one word


@ALL
async def test_an_ended_connection_is_replaced(engine: Engine) -> None:
    await make_items(engine)
    async with writing(engine) as session:
        await end_connection(engine, await number_of_connection(engine, session))
        error = await error_of(session.execute(_TAKE, {"id": 1}))
    assert engine.classify(error) is Failure.DISCONNECT
    assert isinstance(engine.translate(error), UnavailableError)
    async with writing(engine) as session:
        await session.execute(_TAKE, {"id": 1})


@ALL
async def test_a_connection_that_ended_while_nobody_used_it_is_not_noticed(engine: Engine) -> None:
    for pool in (engine.writer, engine.reader):
        async with AsyncSession(pool) as session:
            await engine.begin(session)
            number = await number_of_connection(engine, session)
        await end_connection(engine, number)
        async with AsyncSession(pool) as session:
            await engine.begin(session)
            assert await number_of_connection(engine, session) != number


@BOTH
@pytest.mark.parametrize("read_only", [False, True])
async def test_a_unit_whose_connection_ended_raises_errors_of_the_tree(address: str, *, read_only: bool) -> None:
    async with Database(address) as database:

        async def ended(error: Exception | None) -> None:
            async with database.unit_of_work(read_only=read_only) as uow:
                number = await number_of_connection(database.engine, uow.session)
                await end_connection(database.engine, number)
                if error is not None:
                    raise error

        assert isinstance(await error_of(ended(KeyError("the caller's own"))), KeyError)
        expected = UnavailableError if read_only else CommitUnknownError
        assert isinstance(await error_of(ended(None)), expected)
        await database.run(lambda uow: uow.tasks.get_many(["t"]))


@ALL
async def test_what_only_reads_may_not_write(engine: Engine) -> None:
    await make_items(engine)
    async with AsyncSession(engine.reader) as session:
        await engine.begin(session)
        error = await error_of(session.execute(_TAKE, {"id": 1}))
    assert engine.classify(error) is Failure.READ_ONLY
    assert isinstance(engine.translate(error), ReadOnlyError)


@ALL
async def test_an_unknown_user_or_database_or_server_is_unavailable_without_secrets(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(address)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        wrong = [
            url.set(username="openclaw_nobody", password=_SECRET),
            url.set(database="openclaw_nothing", password=_SECRET if "mysql" not in address else None),
            url.set(port=taken.getsockname()[1], password=_SECRET),
        ]
        with caplog.at_level(logging.DEBUG), capture_logs() as events:
            for one in wrong:
                database = Database(one)
                error = await error_of(database.initialize())
                assert isinstance(error, UnavailableError)
                shown = [*traceback.format_exception(error), repr(database), repr(database.engine)]
                assert not any("s3cret" in line for line in shown)
    assert "s3cret" not in caplog.text + repr(events)


@ALL
async def test_a_parameter_that_the_driver_does_not_take_is_a_fault_of_the_address(address: str) -> None:
    async def opening(query: str) -> None:
        async with Database(f"{address}?{query}"):
            pass

    for query in ("nonsense=s3cret", "connect_timeout=soon"):
        error = await error_of(opening(query))
        assert isinstance(error, ConfigurationError | DatabaseError)  # psycopg's parser says what it does not take
        assert "s3cret" not in str(error)


@BOTH
async def test_a_server_that_is_too_old_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "_OLDEST", {True: (99, 1), False: (99, 1)})
    monkeypatch.setattr(postgresql, "_OLDEST", 990_000)
    with pytest.raises(ConfigurationError, match=r"too old; (99|14)"):
        await make_engine(address).open()


@MYSQL
async def test_warnings_which_may_quote_a_row_are_not_logged(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with writing(engine) as session:
            await session.execute(text("SELECT CAST('the payload' AS SIGNED)"))
    assert "payload" not in caplog.text


def _error(number: int, words: str = "words") -> Exception:
    return Exception(number, words)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (1040, Failure.BUSY),
        (1205, Failure.BUSY),
        (1213, Failure.CONFLICT),
        (1020, Failure.CONFLICT),
        (1412, Failure.CONFLICT),
        (4025, Failure.CONSTRAINT),
        (3819, Failure.CONSTRAINT),
        (2003, Failure.DISCONNECT),
        (1047, Failure.DISCONNECT),
        (4031, Failure.DISCONNECT),
        (1021, Failure.FULL),
        (1290, Failure.READ_ONLY),
        (1034, Failure.CORRUPT),
        (1180, Failure.STORAGE),
        (1146, Failure.OTHER),
    ],
)
def test_numbers_of_mysql(number: int, kind: Failure) -> None:
    assert mysql_errors.kind_of(_error(number)) is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_error(1062, "Duplicate entry 'payload' for key 'PRIMARY'"), "error 1062"),
        (_error(1366, "Incorrect string value: 'payload'"), "error 1366"),
        (_error(1146, "Table 'x.tasks' doesn't exist\nand more"), "error 1146: Table 'x.tasks' doesn't exist"),
        (_error(1205, "Lock wait timeout exceeded"), "error 1205: Lock wait timeout exceeded"),
        (ValueError("payload"), "ValueError"),
        (ValueError(), "ValueError"),
    ],
)
def test_only_words_that_quote_no_value_are_shown_of_mysql(error: Any, words: str) -> None:
    assert mysql_errors.words_of(error) == words


@ALL
async def test_only_new_rows_count_as_inserted(engine: Engine) -> None:
    rows = [{"cluster_id": 1, "requirement_id": number, "skills": ("a",)} for number in (1, 2)]
    table = table_of(RequirementModel)
    async with writing(engine) as session:
        await put_cluster(session)
        assert await engine.insert_missing(session, table, rows[:1]) == 1
        assert await engine.insert_missing(session, table, rows) == 1
        assert await engine.insert_missing(session, table, rows) == 0
        assert await engine.insert_missing(session, table, []) == 0


@ALL
async def test_inserting_what_is_missing_hides_no_other_error(engine: Engine) -> None:
    orphan = {"cluster_id": 7, "node_id": "n", "seen_at": EPOCH, "cpu_usage": 0, "memory_usage": 0, "disk_usage": 0}
    row = orphan | {"successful_tasks": 0, "failed_tasks": 0, "execution_us": 0}
    async with writing(engine) as session:
        with pytest.raises(DatabaseError, match="constraint"):
            await engine.insert_missing(session, table_of(HeartbeatModel), [row])


async def put_cluster(session: AsyncSession) -> None:
    """Store a cluster without its name's sake: the parent of everything."""
    zeros = {column.name: 0 for column in table_of(ClusterModel).columns}
    row = zeros | {
        "cluster_id": 1,
        "name": "c",
        "configuration": JsonObject(),
        "created_at": EPOCH,
        "changed_at": EPOCH,
    }
    await session.execute(insert(table_of(ClusterModel)), row)
