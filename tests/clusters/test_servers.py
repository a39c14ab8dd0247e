"""Where the servers of the tests come from, and what happens where there is none."""

import pytest

import servers
from clusters.asking import ask
from clusters.postgres import HINT, programs
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


@pytest.mark.usefixtures("nowhere")
def test_a_postgresql_server_is_started_where_none_answers() -> None:
    if programs() is None:
        lacking(HINT)
    found = Servers()
    try:
        address = run_apart(found.get("postgresql").make("postgresql+psycopg"))
        assert run_apart(ask(address, "SELECT count(*) FROM clusters")) == 0
    finally:
        found.close()


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_is_missing_is_told_of_once_and_loudly() -> None:
    found = Servers()
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception, match="no MySQL"):
            found.get("mysql")
    assert list(servers.MISSED) == [servers._HINTS["mysql"]]


@pytest.mark.usefixtures("nowhere")
def test_a_server_that_is_missing_is_a_failure_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REQUIRED", True)
    with pytest.raises(pytest.fail.Exception, match="no MySQL"):
        Servers().get("mysql")
