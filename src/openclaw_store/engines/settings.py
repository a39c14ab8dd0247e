"""What the store relies on and somebody else sets up: how the database keeps commits, and whether it tidies up."""

from collections.abc import Mapping
from typing import Final

import msgspec


class Setting(msgspec.Struct, frozen=True):
    """How a database is set up in one respect.

    Attributes:
        shown: the settings, by the names that the database has for them.
        advice: what may come of them, and what to do; empty when all is as it should be.
    """

    shown: str
    advice: str = ""


class Wish(msgspec.Struct, frozen=True):
    """What one setting should be.

    Attributes:
        good: its values that are well.
        advice: what may come of others, and what to do.
    """

    good: frozenset[str]
    advice: str


TIDY: Final = Setting("room is used again by itself")


def judge(found: Mapping[str, object], wishes: Mapping[str, Wish]) -> Setting:
    """Return what was found of what is wished for, with advice where it is not met.

    A setting that the database does not have, None, is passed over.
    """
    present = {name: str(found[name]) for name in wishes if found[name] is not None}
    unmet = [wishes[name].advice for name, value in present.items() if value not in wishes[name].good]
    return Setting(", ".join(f"{name}={value}" for name, value in present.items()), "; ".join(unmet))
