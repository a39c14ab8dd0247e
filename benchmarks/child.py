"""What runs in processes of their own: ``python -m benchmarks.child measure SETTING`` and the like.

The last line that ``measure`` prints is the figure. ``part`` is one of several processes on the same database, ``load``
fills one, and ``change`` is the program whose changes another one catches up with.
"""

import asyncio
import logging
import sys
from typing import Any

import msgspec
import structlog

from benchmarks.cells import keeping_up, loading, throughput
from benchmarks.cells.base import Figure, Setting
from benchmarks.plan import CELLS


def main(role: str, *words: str) -> None:
    """Play a role."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if role == "change":
        asyncio.run(keeping_up.change(*words))
        return
    setting = msgspec.json.decode(words[0], type=Setting)
    if role == "load":
        asyncio.run(loading.load(setting))
    elif role == "part":
        asyncio.run(throughput.take_part(setting, int(words[1])))
    else:
        print(msgspec.json.encode(asyncio.run(_measure(setting))).decode())


async def _measure(setting: Setting) -> Figure:
    measured: Any = await CELLS[setting.cell].measure(setting)
    figure: Figure = measured
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
