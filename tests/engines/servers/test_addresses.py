"""The addresses of MySQL and MariaDB. No server is asked."""

import sys

import pytest

from openclaw_store.engines import make_engine
from openclaw_store.engines.servers.mysql import MysqlEngine
from openclaw_store.errors import ConfigurationError, MissingDependencyError

SCHEMES = ("mysql", "mariadb", "mysql+asyncmy", "mariadb+asyncmy")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_leads_through_the_one_driver(scheme: str) -> None:
    engine = make_engine(f"{scheme}://user:pa55word@host:3307/db?ssl_ca=/ca.pem")
    assert isinstance(engine, MysqlEngine)
    assert engine.url == "mysql+asyncmy://user:***@host:3307/db"
    assert "pa55word" not in repr(engine)
    assert not engine.upgrades_itself


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_names_a_database(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match=f"names no database; write it as '{scheme.replace('+', '.')}://"):
        make_engine(f"{scheme}://user:pa55word@host")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_missing_driver_names_the_extra_that_brings_it(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncmy", None)
    with pytest.raises(
        MissingDependencyError, match=r"asyncmy is not installed: pip install 'openclaw-store\[mysql\]'"
    ):
        make_engine(f"{scheme}://user@host/db")
