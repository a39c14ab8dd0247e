"""Which engine an address asks for, and what is said of addresses that cannot work."""

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from openclaw_store.engines import EngineOptions, SqliteEngine, make_engine
from openclaw_store.errors import ConfigurationError, MissingDependencyError


def path_of(address: Any) -> Path:
    engine = make_engine(address)
    assert isinstance(engine, SqliteEngine)
    assert engine.upgrades_itself
    assert engine.url == f"sqlite:///{engine.path}"
    return engine.path


@pytest.mark.parametrize(
    "address",
    [
        "./data/cluster.db",
        "data/cluster.db",
        Path("data/cluster.db"),
        "sqlite:///data/cluster.db",
        "sqlite:///./data/cluster.db",
        "sqlite+aiosqlite:///data/cluster.db",
        URL.create("sqlite", database="data/cluster.db"),
        URL.create("sqlite+aiosqlite", database="data/cluster.db"),
    ],
)
def test_a_path_and_a_url_mean_the_same_file(address: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of(address) == tmp_path / "data" / "cluster.db"
    monkeypatch.chdir("/")


def test_an_absolute_path_may_hold_any_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20?#ü:x.db"
    assert path_of(str(odd)) == odd
    assert path_of(URL.create("sqlite", database=str(odd))) == odd
    assert path_of(f"sqlite:///{tmp_path}/a%20b.db") == tmp_path / "a b.db"


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert path_of(tmp_path / "link.db") == tmp_path / "real.db"


@pytest.mark.parametrize(
    "address", [":memory:", "", "  ", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file::memory:"]
)
def test_a_database_in_memory_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"needs a file.*temporary folder"):
        make_engine(address)


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [
        ("postgresql", "postgresql+psycopg"),
        ("postgres", "postgresql+psycopg"),
        ("postgresql+psycopg", "postgresql+psycopg"),
        ("postgresql+asyncpg", "postgresql+asyncpg"),
    ],
)
def test_a_server_is_opened_through_its_driver(scheme: str, driver: str) -> None:
    engine = make_engine(f"{scheme}://user:pa55word@host/db?sslmode=require&sslpassword=pa55word")
    assert engine.url == f"{driver}://user:***@host/db"
    assert "pa55word" not in repr(engine)
    assert not engine.upgrades_itself


def test_a_missing_driver_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("psycopg", "asyncpg"):
        monkeypatch.setitem(sys.modules, module, None)
    for scheme, extra in (("postgresql", "postgresql"), ("postgresql+asyncpg", "asyncpg")):
        with pytest.raises(MissingDependencyError, match=rf"openclaw-store\[{extra}\]"):
            make_engine(f"{scheme}://user@host/db")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://user:pa55word@host", "names no database"),
        ("postgresql+psycopg2://user:pa55word@host/db", "no database that this version knows"),
        ("oracle://user:pa55word@host/db", "no database that this version knows"),
        ("sqlite+pysqlite:///x.db", "no database that this version knows"),
        ("sqlite+pysqlcipher://:pa55word@/x.db", "no database that this version knows"),
        ("sqlite://user:pa55word@host/x.db", "no host and no user"),
        ("sqlite://host/x.db", "three slashes"),
        ("sqlite:///x.db?key=pa55word&mode=ro", r"no parameters here \(key, mode\).*EngineOptions"),
        ("://pa55word", "not a valid URL"),
        ("sqlite://a:b:pa55word@h:p/x", "not a valid URL"),
        ("sqlite:x.db", "for want of '://'"),
        ("sqlite:/pa55word/x.db", "for want of '://'"),
        ("file:x.db", "for want of '://'"),
        ("x\x00.db", "NUL"),
        (None, "is a NoneType"),
        (b"x.db", "is a bytes"),
    ],
)
def test_what_cannot_work_is_said_without_secrets(address: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        make_engine(address)
    assert "pa55word" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(synchronous="off"),  # type: ignore[arg-type]
        EngineOptions(lock_timeout=-1),
        EngineOptions(lock_timeout=float("nan")),
        EngineOptions(lock_timeout=float("inf")),
        EngineOptions(readers=0),
    ],
)
def test_options_are_checked(options: EngineOptions, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        make_engine(tmp_path / "a.db", options)


def test_making_an_engine_touches_nothing(tmp_path: Path) -> None:
    make_engine(tmp_path / "sub" / "a.db")
    assert list(tmp_path.iterdir()) == []
