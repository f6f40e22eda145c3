"""The clocks. All other modules get the time from here."""

from __future__ import annotations

import functools
import select
import time
from datetime import UTC, datetime, timedelta

#: The clock that also counts while the machine sleeps: CLOCK_MONOTONIC on macOS, CLOCK_BOOTTIME on Linux.
_CLOCK_WITH_SLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_EPOCH = datetime.fromtimestamp(0, UTC)


def monotonic() -> float:
    """Return seconds since an arbitrary start. They never go back, and stand still while the machine sleeps."""
    return time.monotonic()


def monotonic_with_sleep() -> float:
    """Return seconds like `monotonic`, but count the time that the machine slept."""
    return time.clock_gettime(_CLOCK_WITH_SLEEP)


def now() -> int:
    """Return milliseconds since 1970, by the wall clock."""
    return time.time_ns() // 1_000_000


def nanoseconds() -> int:
    """Return nanoseconds since 1970, by the wall clock."""
    return time.time_ns()


def iso(milliseconds: int) -> str:
    """Format milliseconds since 1970 in ISO 8601: UTC, with milliseconds and `Z`."""
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def parse(text: str) -> int:
    """Return the milliseconds since 1970 of a time in ISO 8601. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000)


def whole_milliseconds(seconds: float) -> int:
    """Return seconds as whole milliseconds, at least 1 for a positive duration: 0 often means none."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def to_datetime(milliseconds: int) -> datetime:
    """Return milliseconds since 1970 as an aware datetime."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


@functools.lru_cache(maxsize=256)  # events that are read together happened in the same few seconds
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def nap(seconds: float) -> None:
    """Pause between two checks of a condition that no call can wait for, such as a file lock with a deadline."""
    select.select([], [], [], seconds)
