"""The number of tasks that a worker takes at once. It can run about that many in a few milliseconds."""

from __future__ import annotations

from collections.abc import Mapping

#: The maximum number of tasks that are taken at once. More would not raise the rate, and other workers would wait.
MAX_SERIES = 32

#: Seconds of work that are taken at once. Only one or two commands would fit into the shorter time for calls.
TARGET: Mapping[str, float] = {"python": 0.005, "command": 0.02}

#: Seconds after which ended tasks are published. A task that has run for half of it is watched separately.
PUBLISH_AFTER: Mapping[str, float] = {"python": 0.01, "command": 0.03}

#: The shortest duration that is assumed for a task, in seconds.
_SHORTEST = 1e-5


class Pace:
    """Adapts the number of tasks to the wall time that each of them takes."""

    def __init__(self) -> None:
        #: The number of tasks to take next.
        self.count = 1

    def note(self, agent: str, ended: int, seconds: float) -> None:
        """Record that `ended` tasks took `seconds`. The next series is at most twice as long as the last one."""
        each = max(seconds / max(ended, 1), _SHORTEST)
        self.count = max(1, min(int(TARGET[agent] / each), 2 * self.count, MAX_SERIES))

    def reset(self) -> None:
        """Start over with single tasks, because a task took long or a process has requested the current task."""
        self.count = 1
