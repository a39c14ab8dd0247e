"""What a server must be told for commits to be kept and room to be used again: how to ask, and what is well."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import TextClause, text

from openclaw_store.engines.settings import Wish

_ON: Final = frozenset({"on"})
_LOST: Final = "a power cut may lose acknowledged commits; set {}"
_GROWING: Final = "tables grow and plans go by old figures; set {} = on, or run `openclaw-store vacuum` often"

POSTGRESQL_DURABLE: Final[Mapping[str, Wish]] = {
    # What differs among these is how far standbys are waited for.
    "synchronous_commit": Wish(
        frozenset({"on", "local", "remote_write", "remote_apply"}), _LOST.format("synchronous_commit = on")
    ),
    "fsync": Wish(_ON, "a power cut may destroy the database; set fsync = on"),
    "full_page_writes": Wish(_ON, "a power cut may leave pages written by half; set full_page_writes = on"),
}
POSTGRESQL_TIDY: Final[Mapping[str, Wish]] = {
    "autovacuum": Wish(_ON, _GROWING.format("autovacuum")),
    "track_counts": Wish(_ON, _GROWING.format("track_counts")),  # autovacuum does nothing without it
}

MYSQL_DURABLE: Final[Mapping[str, Wish]] = {
    # 3 is MariaDB's, and flushes once more than 1.
    "innodb_flush_log_at_trx_commit": Wish(frozenset("13"), _LOST.format("innodb_flush_log_at_trx_commit = 1")),
    # After a crash InnoDB commits of what it had prepared only that which the binary log has, if there is one.
    "sync_binlog": Wish(frozenset("1"), _LOST.format("sync_binlog = 1")),
}
ASK_MYSQL: Final = text(
    "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS innodb_flush_log_at_trx_commit,"
    " CASE WHEN @@GLOBAL.log_bin THEN @@GLOBAL.sync_binlog END AS sync_binlog"
)


def ask_postgresql(wishes: Mapping[str, Wish]) -> TextClause:
    """Return a statement with a column for each setting; what a relative of PostgreSQL does not have is null."""
    return text(f"SELECT {', '.join(f'current_setting({name!r}, true) AS {name}' for name in wishes)}")
