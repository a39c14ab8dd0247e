"""What is said of the settings of a database that the store relies on."""

from collections.abc import Mapping
from typing import Final

import pytest

from openclaw_store.engines.servers.settings import MYSQL_DURABLE, POSTGRESQL_DURABLE, POSTGRESQL_TIDY
from openclaw_store.engines.settings import Setting, Wish, judge
from openclaw_store.engines.sqlite.maintenance import DURABLE

SOUND: Final[list[tuple[Mapping[str, Wish], dict[str, object]]]] = [
    (DURABLE, {"journal_mode": "wal", "synchronous": "full"}),
    (POSTGRESQL_DURABLE, {"synchronous_commit": "remote_apply", "fsync": "on", "full_page_writes": "on"}),
    (POSTGRESQL_TIDY, {"autovacuum": "on", "track_counts": "on"}),
    (MYSQL_DURABLE, {"innodb_flush_log_at_trx_commit": 1, "sync_binlog": 1}),
]
BAD: Final[dict[str, object]] = {
    "journal_mode": "delete",
    "synchronous": "normal",
    "innodb_flush_log_at_trx_commit": 2,
    "sync_binlog": 0,
}


@pytest.mark.parametrize(("wishes", "found"), SOUND)
def test_each_setting_that_is_not_well_is_named_and_advised_on(
    wishes: Mapping[str, Wish], found: dict[str, object]
) -> None:
    assert judge(found, wishes) == Setting(", ".join(f"{name}={value}" for name, value in found.items()))
    for name in found:
        bad = BAD.get(name, "off")
        told = judge({**found, name: bad}, wishes)
        assert f"{name}={bad}" in told.shown
        assert told.advice == wishes[name].advice
    assert judge({name: BAD.get(name, "off") for name in found}, wishes).advice.count("; ") >= len(found) - 1


def test_a_setting_that_the_database_does_not_have_is_passed_over() -> None:
    told = judge({"innodb_flush_log_at_trx_commit": 1, "sync_binlog": None}, MYSQL_DURABLE)
    assert told == Setting("innodb_flush_log_at_trx_commit=1")
