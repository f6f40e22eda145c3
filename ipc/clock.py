"""The only place that asks the time."""

from __future__ import annotations

import select
import time
from datetime import UTC, datetime

#: Seconds from an arbitrary start, never set back, and running on while the machine sleeps, where that can be had.
if hasattr(time, "CLOCK_BOOTTIME"):

    def monotonic() -> float:
        """Seconds that never go back and that count a suspended machine's time."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # macOS counts suspended time in CLOCK_MONOTONIC itself
    monotonic = time.monotonic


def now() -> int:
    """Milliseconds since 1970, by the wall clock."""
    return time.time_ns() // 1_000_000


def iso(milliseconds: int) -> str:
    """ISO 8601, UTC, with milliseconds and `Z`."""
    return moment(milliseconds).strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def parse(text: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(milliseconds: int) -> datetime:
    """An aware datetime of milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)


def nap(seconds: float) -> None:
    """Rest between two tries at a thing that cannot be waited for (a file lock with a deadline)."""
    select.select([], [], [], seconds)
