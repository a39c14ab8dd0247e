"""Where the servers of the tests come from, and what happens where there is none."""

from typing import Any

import pytest

import servers
from clusters import mariadb, postgres
from clusters.asking import ask
from clusters.programs import free_ports
from servers import Servers, lacking, missed, run_apart


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no server be where one usually is."""
    for kind, port in zip(("postgresql", "mysql"), free_ports(2), strict=True):
        monkeypatch.setitem(servers._USUAL, kind, f"{kind}://root@127.0.0.1:{port}/{kind}")
        monkeypatch.delenv(f"OPENCLAW_TEST_{kind.upper()}_URL", raising=False)
    monkeypatch.setattr(servers, "REQUIRED", False)


@pytest.fixture
def bare(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be installed that a server could be started from."""
    for module in (mariadb, postgres):
        monkeypatch.setattr(module, "programs", lambda: None)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    ("module", "kind", "driver"), [(postgres, "postgresql", "postgresql+psycopg"), (mariadb, "mysql", "mysql+asyncmy")]
)
def test_a_server_is_started_where_none_answers(module: Any, kind: str, driver: str) -> None:
    if not module.programs():
        lacking(f"programs: {servers._HINTS[kind]}")
    found = Servers()
    try:
        assert run_apart(ask(run_apart(found.get(kind).make(driver)), "SELECT count(*) FROM clusters")) == 0
    finally:
        found.close()


@pytest.mark.usefixtures("bare")
def test_a_server_that_is_missing_is_told_of_once_and_loudly() -> None:
    found, reports = Servers(), []
    for kind in ("mysql", "postgresql", "mysql"):
        with pytest.raises(pytest.skip.Exception) as skipped:
            found.get(kind)
        where = (__file__, 1, f"Skipped: {skipped.value.msg}")
        reports.append(pytest.TestReport(kind, where, {}, "skipped", where, "setup"))
    reports.append(pytest.TestReport("x", where, {}, "skipped", (__file__, 1, "Skipped: asyncpg cannot"), "setup"))
    assert missed(reports) == [servers._HINTS["mysql"], servers._HINTS["postgresql"]]


@pytest.mark.usefixtures("bare")
def test_a_server_that_is_missing_is_a_failure_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUIRED", True)
    with pytest.raises(pytest.fail.Exception, match="no MySQL"):
        Servers().get("mysql")
