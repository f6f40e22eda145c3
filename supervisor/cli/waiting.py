"""Waiting until tasks have ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...ipc import clock
from ...ipc.errors import NotFound
from ...ipc.model.task import Task
from ...ipc.store.queue import Queue
from .changes import Watch
from .context import Desk

#: So many tasks are read one by one.
FEW = 16
#: The longest rest of somebody who waits: a process that dies commits nothing.
LOOK = 1.0


class Waiting:
    """Some tasks, and which of them have ended."""

    def __init__(self, queue: Queue, ids: Iterable[str]) -> None:
        """Wait for these, named by their whole ids."""
        self._queue = queue
        self._ids = list(dict.fromkeys(ids))
        self._ended: dict[str, Task] = {}
        self._gone: set[str] = set()

    @property
    def open(self) -> set[str]:
        """Those that have not ended yet."""
        return set(self._ids) - self._ended.keys() - self._gone

    @property
    def ended(self) -> list[Task]:
        """Those that have, in the order in which they were named."""
        return [self._ended[id] for id in self._ids if id in self._ended]

    def look(self) -> list[Task]:
        """Those that have ended since the last look."""
        still = self.open
        over = still if len(still) <= FEW else still - set(self._queue.unfinished())
        found = [task for id in self._ids if id in over and (task := self._read(id)) is not None]
        fresh = [task for task in found if task.status.ended]  # one may have been retried by hand meanwhile
        self._ended |= {task.id: task for task in fresh}
        return fresh

    def _read(self, id: str) -> Task | None:
        try:
            return self._queue.get(id)
        except NotFound:  # cleared or pruned meanwhile
            self._gone.add(id)
            return None


def wait_until(
    desk: Desk,
    done: Callable[[], bool],
    timeout: float | None = None,
    tend: Callable[[], object] | None = None,
) -> bool:
    """Wait until `done()`, asked whenever something may have changed; False after `timeout` seconds.

    `tend()` is called besides at least once a second: for what no commit tells of.
    """
    end = None if timeout is None else clock.monotonic() + timeout
    with Watch(desk) as watch:
        while not done():
            left = None if end is None else end - clock.monotonic()
            if left is not None and left <= 0:
                return False
            if tend is not None:
                tend()
            look = LOOK if tend is not None else None
            watch.rest(min((time for time in (left, look) if time is not None), default=None))
    return True
