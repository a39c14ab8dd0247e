"""An immutable mapping that is cheap to change by the batch.

The items lie in a power of two of small dictionaries, chosen by hash. A batch of changes copies the dictionaries that
it touches, each once, and the list of them: the cost follows the batch, not the size. Plain dictionaries beat the
tree-shaped maps from PyPI on reads (two look-ups) and need no dependency; see ``docs/`` on performance.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_SHARD_ITEMS: Final = 16  # and four times as many at most: copying 64 of them takes half a microsecond


class FrozenMap(Mapping[K, V], Generic[K, V]):
    """An immutable mapping; ``changed()`` gives the next one. Iteration is in no particular order."""

    __slots__ = ("_count", "_mask", "_shards")

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        content = items if isinstance(items, Mapping) else dict(items)
        self._count = len(content)
        self._mask = _shards_for(self._count) - 1
        self._shards: list[dict[K, V]] = _spread(content.items(), self._mask)

    def __getitem__(self, key: K) -> V:
        return self._shards[hash(key) & self._mask][key]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """Return the value of ``key``, or ``default``."""
        return self._shards[hash(key) & self._mask].get(key, default)

    def many(self, keys: Iterable[K]) -> list[V]:
        """Return the values of ``keys``, in their order, in less than half of the time that a loop takes."""
        shards, mask = self._shards, self._mask
        return [shards[hash(key) & mask][key] for key in keys]

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) & self._mask]

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._shards)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<FrozenMap of {self._count}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # as any mapping whose values may not be hashable

    def changed(self, updates: Mapping[K, V | None]) -> "FrozenMap[K, V]":
        """Return the map with each key of ``updates`` set, or removed where the value is None."""
        if not updates:
            return self
        after = object.__new__(FrozenMap)
        shards = self._shards.copy()
        fresh: set[int] = set()
        count = self._count
        for key, value in updates.items():
            place = hash(key) & self._mask
            if place not in fresh:
                fresh.add(place)
                shards[place] = shards[place].copy()
            shard = shards[place]
            before = len(shard)
            if value is None:
                shard.pop(key, None)
            else:
                shard[key] = value
            count += len(shard) - before
        after._count, after._mask, after._shards = count, self._mask, shards
        if count > 4 * _SHARD_ITEMS * len(shards):
            after._mask = _shards_for(count) - 1
            after._shards = _spread(chain.from_iterable(shard.items() for shard in shards), after._mask)
        return after


def _shards_for(count: int) -> int:
    return 1 << max(0, (count // _SHARD_ITEMS).bit_length())


def _spread(items: Iterable[tuple[K, V]], mask: int) -> list[dict[K, V]]:
    shards: list[dict[K, V]] = [{} for _ in range(mask + 1)]
    for key, value in items:
        shards[hash(key) & mask][key] = value
    return shards
