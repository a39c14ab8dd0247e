"""One measurement, in a process of its own: ``python -m benchmarks.child [PLACE] SETTING``.

The last line that it prints is its figure. With a PLACE it is one of several processes on the same database.
"""

import asyncio
import logging
import sys

import msgspec
import structlog

from benchmarks.cells import throughput
from benchmarks.cells.base import Setting
from benchmarks.plan import CELLS


def main(words: list[str]) -> None:
    """Measure what the last word says."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    setting = msgspec.json.decode(words[-1], type=Setting)
    if len(words) > 1:
        asyncio.run(throughput.take_part(setting, int(words[0])))
    else:
        print(msgspec.json.encode(asyncio.run(CELLS[setting.cell].measure(setting))).decode())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
