"""An immutable sorted set of ranked ids that is cheap to change by the batch."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Final, TypeAlias

Ranked: TypeAlias = tuple[int, str]
"""A sort key and the id that it belongs to."""

_CHUNK: Final = 256  # copying a chunk of 256 references costs about as much as finding the place in it

_last = itemgetter(-1)


class SortedRun:
    """An immutable sorted set; ``changed()`` gives the next one and copies only the chunks that it touches."""

    __slots__ = ("_chunks", "_count")

    def __init__(self, items: Iterable[Ranked] = ()) -> None:
        ordered = sorted(items)
        self._count = len(ordered)
        self._chunks = [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]

    def __iter__(self) -> Iterator[Ranked]:
        return chain.from_iterable(self._chunks)

    def __len__(self) -> int:
        return self._count

    def changed(self, added: Iterable[Ranked], removed: Iterable[Ranked]) -> "SortedRun":
        """Return the set without ``removed`` and with ``added``; what is absent or present already is passed over."""
        after = object.__new__(SortedRun)
        after._chunks = self._chunks.copy()
        after._count = self._count
        fresh: set[int] = set()
        for item in removed:
            after._take_out(item, fresh)
        for item in added:
            after._put_in(item, fresh)
        return after

    def _own(self, place: int, fresh: set[int]) -> list[Ranked]:
        chunk = self._chunks[place]
        if id(chunk) not in fresh:
            chunk = self._chunks[place] = chunk.copy()
            fresh.add(id(chunk))
        return chunk

    def _take_out(self, item: Ranked, fresh: set[int]) -> None:
        place = bisect_left(self._chunks, item, key=_last)
        if place == len(self._chunks):
            return
        index = bisect_left(self._chunks[place], item)
        if self._chunks[place][index] != item:
            return
        chunk = self._own(place, fresh)
        del chunk[index]
        self._count -= 1
        if not chunk:
            # The emptied list stays referenced by nobody: its identity may be given to a later chunk.
            fresh.discard(id(chunk))
            del self._chunks[place]

    def _put_in(self, item: Ranked, fresh: set[int]) -> None:
        if not self._chunks:
            self._chunks.append([item])
            fresh.add(id(self._chunks[0]))
            self._count += 1
            return
        place = min(bisect_left(self._chunks, item, key=_last), len(self._chunks) - 1)
        index = bisect_left(self._chunks[place], item)
        if index < len(self._chunks[place]) and self._chunks[place][index] == item:
            return
        chunk = self._own(place, fresh)
        chunk.insert(index, item)
        self._count += 1
        if len(chunk) > 2 * _CHUNK:
            half = chunk[_CHUNK:]
            del chunk[_CHUNK:]
            self._chunks.insert(place + 1, half)
            fresh.add(id(half))
