"""How many tasks a worker takes at once: about as many as it runs in a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

#: Tasks that are taken at once, at most: with more the rate no longer grew, and others would wait.
MAX_SERIES = 32

#: Seconds of work that are taken at once. A command costs so much more than a call that 5 ms would be one or two.
TARGET: Mapping[str, float] = {"python": 0.005, "command": 0.02}

#: Seconds after which what has ended is published; what has run for half of it by then is watched by itself.
LOOK_AFTER: Mapping[str, float] = {"python": 0.01, "command": 0.03}

#: Seconds; no task is taken to be shorter.
_SHORTEST = 1e-5


class Pace:
    """Adapts the length of the series to how long the tasks take, by wall time."""

    def __init__(self) -> None:
        """Begin with single tasks."""
        self.count = 1

    def note(self, agent: str, ended: int, seconds: float) -> None:
        """A series of `ended` tasks took so many seconds: at most double its length."""
        each = max(seconds / max(ended, 1), _SHORTEST)
        self.count = max(1, min(int(TARGET[agent] / each), 2 * self.count, MAX_SERIES))

    def reset(self) -> None:
        """A task took long, or the series was asked for: begin again with single tasks."""
        self.count = 1
