"""Where the servers of the tests come from, and what happens where there is none."""

from typing import Any

import pytest

import servers
from clusters import mariadb, postgres
from clusters.asking import ask
from clusters.programs import free_ports
from servers import Servers, lacking, run_apart


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no server be where one usually is."""
    for kind, port in zip(("postgresql", "mysql"), free_ports(2), strict=True):
        monkeypatch.setitem(servers._USUAL, kind, f"{kind}://root@127.0.0.1:{port}/{kind}")
        monkeypatch.delenv(f"OPENCLAW_TEST_{kind.upper()}_URL", raising=False)
    monkeypatch.setattr(servers, "MISSED", {})
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
    found = Servers()
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception, match="no MySQL"):
            found.get("mysql")
    assert list(servers.MISSED) == [servers._HINTS["mysql"]]


@pytest.mark.usefixtures("bare")
def test_a_server_that_is_missing_is_a_failure_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUIRED", True)
    with pytest.raises(pytest.fail.Exception, match="no MySQL"):
        Servers().get("mysql")
