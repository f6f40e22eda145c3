"""Detect steps of the wall clock, so that delays and timeouts keep their length."""

from __future__ import annotations

from typing import NamedTuple

from ...ipc import clock

#: The smallest step in milliseconds. A smaller difference comes from a clock that is slewed to the right time.
SMALLEST_STEP = 1000


class Step(NamedTuple):
    """A step: its size in milliseconds, and the earliest time at which it can have happened, by the changed clock."""

    by: int
    since: int


class ClockSteps:
    """Compares the wall clock with a monotonic clock."""

    def __init__(self) -> None:
        self._at, self._ahead = clock.monotonic_with_sleep(), _ahead()
        #: The sum of all steps forward, in milliseconds.
        self.forward = 0

    def check(self) -> Step | None:
        """Return the step since the last confirmed step or the last check that found no step, or None."""
        at, ahead = clock.monotonic_with_sleep(), _ahead()
        if abs(ahead - self._ahead) >= SMALLEST_STEP:
            return Step(ahead - self._ahead, clock.now() - round((at - self._at) * 1000))
        self._at, self._ahead = at, ahead
        return None

    def confirm(self, step: Step) -> None:
        """Note that a step has been accounted for. Until then, `check` returns it again."""
        self._ahead += step.by
        self.forward += max(0, step.by)


def _ahead() -> int:
    return clock.now() - round(clock.monotonic_with_sleep() * 1000)
