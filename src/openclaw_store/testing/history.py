"""What the clients of a store were told: the records of all of them, put together."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from openclaw_store.testing.entries import Began, Call, Ended, Line, Saw, Stream
from openclaw_store.testing.recorder import Recorder

_DECODER: Final = msgspec.json.Decoder(Line)


class History(msgspec.Struct, frozen=True):
    """Every call of every client that was recorded, and what the observers among them saw.

    Attributes:
        calls: by when they began.
        streams: one for each ``watch()``.
    """

    calls: list[Call]
    streams: list[Stream]

    @classmethod
    def of(cls, *recorders: Recorder) -> Self:
        """Return what was recorded in memory."""
        return cls._merged(recorder.lines for recorder in recorders)

    @classmethod
    def read(cls, paths: Iterable[str | Path]) -> Self:
        """Return what was recorded in files, by processes that may be dead.

        A last line that was cut short is passed over: its call never heard of its end.

        Raises ValueError when another line cannot be read.
        """
        return cls._merged(_lines(Path(path)) for path in paths)

    @classmethod
    def _merged(cls, records: Iterable[Iterable[Line]]) -> Self:
        calls: list[Call] = []
        streams: list[Stream] = []
        for record in records:
            began: dict[int, Began] = {}
            watches: dict[int, Stream] = {}
            for line in record:
                if isinstance(line, Began):
                    if line.operation == "watch":
                        watches[line.number] = _stream(line)
                    else:
                        began[line.number] = line
                elif isinstance(line, Ended):
                    calls.append(_call(began.pop(line.number), line))
                else:
                    _see(watches, line)
            calls += [_call(line, None) for line in began.values()]
            streams += watches.values()
        calls.sort(key=lambda call: call.began)
        return cls(calls, streams)


def _stream(line: Began) -> Stream:
    return Stream(
        client=line.client, began=line.at, start=line.asked.revision or 0, resumed=line.asked.resumed, sights=[]
    )


def _see(watches: dict[int, Stream], line: Saw) -> None:
    watches[line.number].sights.append(line.sight)


def _call(began: Began, ended: Ended | None) -> Call:
    call = Call(
        client=began.client, operation=began.operation, asked=began.asked, began=began.at, before=began.revision
    )
    if ended is None:
        return call
    return msgspec.structs.replace(
        call,
        ended=ended.at,
        after=ended.revision,
        outcome=ended.outcome,
        code=ended.code,
        seen=ended.seen,
        node_ids=ended.node_ids,
        snapshot=ended.snapshot,
    )


def _lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                return
            try:
                yield _DECODER.decode(text)
            except msgspec.MsgspecError as error:
                raise ValueError(f"{path}: line {number} is not one of a record: {error}") from error
