"""Waiting until tasks have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...ipc import clock
from ...ipc.errors import NotFound
from ...ipc.model.task import Task
from ...ipc.store.queue import Queue
from .changes import ChangeWatch
from .context import Context

#: Up to this many tasks are read one by one; for more, the unfinished ones are listed first.
FEW = 16
#: Seconds between two calls of `check`: the death of a process changes nothing in the database.
CHECK_INTERVAL = 1.0


class AwaitedTasks:
    """Some tasks, by their full IDs, and which of them have ended."""

    def __init__(self, queue: Queue, ids: Iterable[str]) -> None:
        self._queue = queue
        self._ids = list(dict.fromkeys(ids))
        self._ended: dict[str, Task] = {}
        self._deleted: set[str] = set()

    @property
    def unfinished(self) -> set[str]:
        """The tasks that have not ended."""
        return set(self._ids) - self._ended.keys() - self._deleted

    @property
    def ended(self) -> list[Task]:
        """The tasks that have ended, in the order in which they were named."""
        return [self._ended[id] for id in self._ids if id in self._ended]

    def refresh(self) -> list[Task]:
        """Read the tasks again; return those that have ended since the last call."""
        left = self.unfinished
        candidates = left if len(left) <= FEW else left - set(self._queue.unfinished())
        found = [task for id in self._ids if id in candidates and (task := self._read(id)) is not None]
        new = [task for task in found if task.status.ended]  # one may have been retried by hand meanwhile
        self._ended |= {task.id: task for task in new}
        return new

    def _read(self, id: str) -> Task | None:
        try:
            return self._queue.get(id)
        except NotFound:  # cleared or pruned meanwhile
            self._deleted.add(id)
            return None


def wait_until(
    context: Context,
    done: Callable[[], bool],
    timeout: float | None = None,
    check: Callable[[], object] | None = None,
) -> bool:
    """Wait until `done()` is true; return False after `timeout` seconds.

    `done` is called whenever something may have changed. `check`, for what no commit reports, is called
    at least once a second besides.
    """
    end = None if timeout is None else clock.monotonic() + timeout
    with ChangeWatch(context) as watch:
        while not done():
            left = None if end is None else end - clock.monotonic()
            if left is not None and left <= 0:
                return False
            if check is not None:
                check()
            interval = CHECK_INTERVAL if check is not None else None
            watch.wait(min((time for time in (left, interval) if time is not None), default=None))
    return True
