"""When what may die at once is tried again."""

from __future__ import annotations

from . import clock

#: Seconds between two tries: doubled from the first to the last.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 10.0


class Backoff:
    """Later each time, and soon again after it has lived a while."""

    def __init__(self) -> None:
        """The first try is at once."""
        self._rest = FIRST_BACKOFF
        self._next = 0.0

    def over(self) -> bool:
        """Whether it may be tried now."""
        return clock.monotonic() >= self._next

    def rest(self) -> float:
        """Seconds until it may be tried."""
        return max(0.0, self._next - clock.monotonic())

    def note(self) -> None:
        """It is tried now."""
        now = clock.monotonic()
        self._rest = FIRST_BACKOFF if now - self._next > LAST_BACKOFF else min(self._rest * 2, LAST_BACKOFF)
        self._next = now + self._rest
