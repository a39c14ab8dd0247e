"""Whatever is in the files of a recording: they are refused, with file and line, or they can be played.

The attack: valid files whose bytes, cells and lines are turned, doubled, torn out and put elsewhere.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from cli.replay.support import small_recording
from faults.support import chance, rounds
from openclaw_store import NodeInfo, Task
from openclaw_store.cli.replay.errors import TraceError
from openclaw_store.cli.replay.trace import equip, read_nodes, read_tasks

_CELLS: Final = [
    *("", " ", "-1", "1e309", "nan", "inf", "1_0", "0x10", "1e12", "٣", "9" * 5000, "x" * 129, "a\x00b", "A||B", "|"),
    *('"', '"a', 'a"b', "'", "\r", "\x1b[2J", "\ufeff", "\u2028", "\U0010ffff", "é" * 128, "Succeeded", "LS"),
]


def _turn(content: bytes, random_: random.Random) -> bytes:
    place = random_.randrange(len(content))
    return content[:place] + random_.randbytes(random_.randrange(4)) + content[place + random_.randrange(4) :]


def _tear(content: bytes, random_: random.Random) -> bytes:
    start, stop = sorted(random_.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[stop:]


def _shuffle(content: bytes, random_: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(random_.randrange(len(lines) + 1), random_.choice(lines))
    here, there = (random_.randrange(len(lines)) for _ in range(2))
    lines[here], lines[there] = lines[there], lines[here]
    return b"".join(lines)


def _fill_in(content: bytes, random_: random.Random) -> bytes:
    lines = content.split(b"\n")
    line = random_.randrange(len(lines))
    cells = lines[line].split(b",")
    cells[random_.randrange(len(cells))] = random_.choice(_CELLS).encode()
    lines[line] = b",".join(cells)
    return b"\n".join(lines)


_WAYS: Final[Sequence[Callable[[bytes, random.Random], bytes]]] = [_turn, _tear, _shuffle, *[_fill_in] * 4]


def _spoil(content: bytes, random_: random.Random) -> bytes:
    for _ in range(random_.choice([1, 1, 2, 5])):
        content = random_.choice(_WAYS)(content or b"x", random_)
    return content


def _play(nodes: Path, tasks: Path) -> None:
    """Make of a recording what a replay makes of it."""
    plans = read_tasks(tasks)
    for plan in plans:
        Task.create(task_type="batch", name=plan.name, required_skills=plan.skills, priority=plan.priority)
        assert plan.arrives >= 0
        assert plan.seconds >= 0
        assert plan.withdrawn >= 0
    for node in equip(read_nodes(nodes), plans):
        NodeInfo(node_id=node.node_id, available_skills=node.skills, max_concurrent_tasks=node.slots)


def _complaint_about(work: Callable[[], Any]) -> str | None:
    """Return what a recording is refused for; None when it can be played."""
    try:
        work()
    except TraceError as error:
        return str(error)
    return None


@pytest.mark.timeout(120 + rounds(200, 20_000) // 50)
def test_a_spoilt_recording_is_refused_or_can_be_played(tmp_path: Path) -> None:
    random_ = chance()
    _, nodes, _, tasks = small_recording(tmp_path, nodes=5, tasks=20)
    paths = [Path(nodes), Path(tasks)]
    sound = [path.read_bytes() for path in paths]
    played: set[bool] = set()
    for _ in range(rounds(200, 20_000)):
        spoilt = random_.randrange(len(paths))
        paths[spoilt].write_bytes(_spoil(sound[spoilt], random_))
        complaint = _complaint_about(lambda: _play(*paths))
        assert complaint is None or (len(complaint) < 1000 and "\n" not in complaint)
        played.add(complaint is None)
        paths[spoilt].write_bytes(sound[spoilt])
    assert played == {True, False}
