"""The only place that asks the time."""

from __future__ import annotations

import functools
import select
import time
from datetime import UTC, datetime, timedelta

#: What runs on while the machine sleeps: on Linux a clock of its own, on macOS the one by that name.
_RUNS_ON = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_EPOCH = datetime.fromtimestamp(0, UTC)


def monotonic() -> float:
    """Seconds from an arbitrary start, never set back; while the machine sleeps they stand still: no patience ends."""
    return time.monotonic()


def passed() -> float:
    """As `monotonic`, but with the time that the machine slept."""
    return time.clock_gettime(_RUNS_ON)


def now() -> int:
    """Milliseconds since 1970, by the wall clock."""
    return time.time_ns() // 1_000_000


def nanoseconds() -> int:
    """Nanoseconds since 1970, by the wall clock."""
    return time.time_ns()


def iso(milliseconds: int) -> str:
    """ISO 8601, UTC, with milliseconds and `Z`."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def parse(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000)


def to_datetime(milliseconds: int) -> datetime:
    """An aware datetime of milliseconds since 1970."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


@functools.lru_cache(maxsize=256)  # what is told together happened together
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def nap(seconds: float) -> None:
    """Rest between two tries at a thing that cannot be waited for (a file lock with a deadline)."""
    select.select([], [], [], seconds)
