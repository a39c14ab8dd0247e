"""Interned requirements: which sets of required skills there are, and which of them a node satisfies."""

import hashlib
from collections.abc import Mapping

import msgspec

_encode = msgspec.json.Encoder().encode


class RequirementCatalogue:
    """The requirements that this process knows to be stored.

    A requirement never changes and is never removed, so knowing one once is knowing it until the database is
    replaced, which gives it another epoch. One catalogue serves all units of work of a Database.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._known: dict[int, frozenset[str]] = {}
        self._ids: dict[tuple[str, ...], int] = {}
        self._satisfied: dict[frozenset[str], list[int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, requirement_id: int) -> bool:
        return requirement_id in self._known

    def forget(self) -> None:
        """Start afresh, after the database was replaced by another."""
        self._epoch = 0
        self._known.clear()
        self._satisfied.clear()

    def learn(self, stored: Mapping[int, frozenset[str]]) -> None:
        """Take in requirements that were just stored."""
        if stored:
            self._known.update(stored)
            self._satisfied.clear()

    def is_whole(self, epoch: int, count: int) -> bool:
        """Return whether all ``count`` requirements of the database of that epoch are known."""
        return self._epoch == epoch and len(self._known) == count

    def replace(self, epoch: int, stored: Mapping[int, frozenset[str]]) -> None:
        """Take in all the requirements that are stored in the database of that epoch."""
        self._epoch = epoch
        self._known = dict(stored)
        self._satisfied.clear()

    def all_ids(self) -> list[int]:
        """Return the ids of all known requirements."""
        return list(self._known)

    def id_of(self, skills: tuple[str, ...]) -> int:
        """Return the id of a set of skills, given in any order: the first 63 bits of a hash of the sorted set."""
        requirement_id = self._ids.get(skills)
        if requirement_id is None:
            digest = hashlib.blake2b(_encode(sorted(set(skills))), digest_size=8).digest()
            requirement_id = self._ids[skills] = int.from_bytes(digest, "big") >> 1
        return requirement_id

    def satisfied_by(self, offered: frozenset[str]) -> list[int]:
        """Return the ids of the known requirements that a node with the ``offered`` skills satisfies."""
        satisfied = self._satisfied.get(offered)
        if satisfied is None:
            satisfied = [one for one, skills in self._known.items() if skills <= offered]
            self._satisfied[offered] = satisfied
        return satisfied
