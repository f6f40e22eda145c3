"""Growing delays between tries. They have jitter if many processes may retry at the same time."""

from __future__ import annotations

import os

from . import clock

#: Seconds between tries to connect to a process that is starting: the first and the longest delay.
FIRST_DELAY, LONGEST_DELAY = 0.02, 0.25

#: Seconds before a process that has died is started again: the first and the longest delay.
FIRST_RESTART, LONGEST_RESTART = 0.05, 10.0

#: Steps after which delays no longer grow, so that no number overflows.
MAX_STEPS = 60

#: The ranges of the random number by which each delay is multiplied.
NO_JITTER = (1.0, 1.0)
FULL_JITTER = (0.0, 1.0)


class Backoff:
    """Delays that grow by `factor` from `first` to `longest`, in seconds or any other unit."""

    def __init__(
        self,
        first: float = FIRST_DELAY,
        longest: float = LONGEST_DELAY,
        factor: float = 2.0,
        jitter: tuple[float, float] = NO_JITTER,
    ) -> None:
        self._first, self._longest, self._factor, self._jitter = first, longest, factor, jitter
        self._step = 0

    def next_delay(self) -> float:
        """Return the delay before the next try."""
        delay = self.delay(self._step)
        self._step += 1
        return delay

    def reset(self) -> None:
        """Start over with the first delay, after a try has succeeded."""
        self._step = 0

    def delay(self, step: int) -> float:
        """Return the delay that follows `step` earlier delays. This does not affect `next_delay`."""
        delay = min(self._longest, self._first * self._factor ** min(step, MAX_STEPS))
        low, high = self._jitter
        return delay if low == high else delay * (low + (high - low) * _random())


class RestartTimer:
    """Decides when a process is restarted. Each further death in a short time makes the next delay longer."""

    def __init__(self) -> None:
        self._backoff = Backoff(FIRST_RESTART, LONGEST_RESTART)
        self._due = 0.0

    def is_due(self) -> bool:
        """Return True if the process may be started now."""
        return clock.monotonic() >= self._due

    def rest(self) -> float:
        """Return the seconds until the process may be started, or infinity if there is nothing to wait for."""
        rest = self._due - clock.monotonic()
        return rest if rest > 0 else float("inf")

    def note_start(self) -> None:
        """Delay the next start, longer each time, unless the last start was long ago."""
        now = clock.monotonic()
        if now - self._due > LONGEST_RESTART:
            self._backoff.reset()
        self._due = now + self._backoff.next_delay()


def _random() -> float:
    """Return a random number from 0 to 1. Importing `random` would take longer than a launch may take."""
    return int.from_bytes(os.urandom(4)) / 2**32
