"""Ids that sort by the time they were made (UUID version 7, RFC 9562)."""

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def uuid7_hex() -> str:
    """Return a new UUIDv7 as 32 hex digits, greater than every one returned before by this process.

    The 74 bits behind the millisecond are random; within one millisecond, or when the clock steps back, the last
    value is counted up instead (RFC 9562, section 6.2, method 2).
    """
    global _last  # noqa: PLW0603 - one counter per process is the point
    millisecond = time.time_ns() // 1_000_000
    fresh = (millisecond << 74) | (int.from_bytes(os.urandom(10), "big") & ((1 << 73) - 1))
    with _lock:
        _last = fresh if fresh > _last else _last + 1
        value = _last
    # 48 bits of time, 12 of random, 62 of random: put version and variant between them.
    head, rest = value >> 62, value & ((1 << 62) - 1)
    time_part, random_part = head >> 12, head & 0xFFF
    return f"{(time_part << 80) | (0x7 << 76) | (random_part << 64) | (0b10 << 62) | rest:032x}"
