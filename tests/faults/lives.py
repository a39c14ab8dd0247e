"""Many simulated lives, spread over the processors: each is decided by its seed alone, wherever it is lived."""

import asyncio
import gc
import os
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from faults.simulation import run


def live(template: Path, folder: Path, seeds: Sequence[int]) -> Counter[str]:
    """Live once by each seed, and return how calls ended, and how often; the first life that goes wrong is told."""
    outcomes: Counter[str] = Counter()
    # Spawned, not forked: a fork would take along the threads and loops of the tests.
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _settle) as pool:
        try:
            for seed, (ends, problem) in zip(seeds, pool.map(partial(_live, template, folder), seeds), strict=True):
                assert not problem, f"run(template, folder, seed={seed}) repeats this life:\n{problem}"
                outcomes.update(ends)
        finally:
            pool.shutdown(cancel_futures=True)
    return outcomes


def _settle() -> None:
    """Tell the garbage collector what stays, and to look less often: a life takes a quarter less of a processor."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _live(template: Path, folder: Path, seed: int) -> tuple[dict[str, int], str]:
    """Live once; return how calls ended, and what went wrong in words, since not every error can be sent."""
    try:
        return run(template, folder, seed).outcomes, ""
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 - whoever asked for it tells it
        return {}, traceback.format_exc()
