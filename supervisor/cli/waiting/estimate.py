"""Estimate how long tasks take until they have ended, from the last tasks of the same keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ....ipc import clock
from ....ipc.model.task import Task, TaskStatus
from ....ipc.model.wait import Wait
from ..context import Context

#: The number of ended tasks whose durations count, and of unfinished tasks that are examined.
HISTORY, SAMPLE = 1000, 500

#: Seconds for which an estimate is used before another one is made.
AGE = 5.0


class Estimate:
    """The time at which a wait will probably be over."""

    def __init__(self, context: Context, wait: Wait) -> None:
        self._context, self._wait = context, wait
        self._next_at = 0.0
        self._end: float | None = None

    def remaining(self) -> float | None:
        """Return the milliseconds until the last task ends, or None if that is unknown."""
        if clock.monotonic() >= self._next_at:
            self._next_at = clock.monotonic() + AGE
            duration = self._duration()
            self._end = None if duration is None else clock.now() + duration
        return None if self._end is None else max(0.0, self._end - clock.now())

    def _duration(self) -> float | None:
        unfinished = self._wait.unfinished
        if self._wait.any or len(unfinished) > SAMPLE:
            return None
        tasks = self._context.queue.existing(list(unfinished))
        means = self._context.store.tasks.mean_durations(HISTORY)
        return total_duration(tasks, means, clock.now())


def total_duration(tasks: Sequence[Task], means: dict[str, float], now: float) -> float | None:
    """Return the milliseconds until these tasks have ended, or None if there is no history of one of their keys.

    It is assumed that as many tasks of a key run at once as are running now.
    """
    if not tasks or any(task.concurrency_key not in means for task in tasks):
        return None
    running = Counter(task.concurrency_key for task in tasks if task.status is TaskStatus.RUNNING)
    work, longest = Counter[str](), 0.0
    for task in tasks:
        rest = _rest(task, means[task.concurrency_key], now)
        work[task.concurrency_key] += rest  # type: ignore[assignment]  # a counter adds fractions, too
        longest = max(longest, rest)
    return max(longest, *(total / max(1, running[key]) for key, total in work.items()))


def _rest(task: Task, mean: float, now: float) -> float:
    if task.status is not TaskStatus.RUNNING or task.started_at is None:
        return mean
    return max(0.0, mean - (now - task.started_at.timestamp() * 1000))
