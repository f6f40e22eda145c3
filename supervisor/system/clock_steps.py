"""Whether somebody set the wall clock: that an hour is gone on it need not mean that an hour has passed."""

from __future__ import annotations

from typing import NamedTuple

from ...ipc import clock

#: Milliseconds; what is less is a clock that is slewed to the right time.
LEAST = 1000


class Step(NamedTuple):
    """By how much it was set, and since when at the earliest, by the clock as it goes now; both in milliseconds."""

    by: int
    since: int


class WallClock:
    """Compares the wall clock with the time that has passed."""

    def __init__(self) -> None:
        """It is right."""
        self._at, self._ahead = clock.passed(), _ahead()
        #: Milliseconds by which it was set forward in all.
        self.forward = 0

    def look(self) -> Step | None:
        """What has been done to it since the last look, or since the last step that was followed."""
        at, ahead = clock.passed(), _ahead()
        if abs(ahead - self._ahead) >= LEAST:
            return Step(ahead - self._ahead, clock.now() - round((at - self._at) * 1000))
        self._at, self._ahead = at, ahead
        return None

    def follow(self, step: Step) -> None:
        """That step was taken account of."""
        self._ahead += step.by
        self.forward += max(0, step.by)


def _ahead() -> int:
    return clock.now() - round(clock.passed() * 1000)
