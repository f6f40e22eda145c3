"""A series of tasks that a test's worker has taken: one runs, the others are held behind it."""

from __future__ import annotations

from typing import Any

from backburner.ipc.model.claim import Ended, Held, Settlement, Slot, Step, Taken
from backburner.ipc.model.task import TaskStatus
from tests.helpers.queue_db import QueueDatabase


class Series:
    """The tasks of the group `one`, which has one slot."""

    def __init__(self, queue_db: QueueDatabase, count: int, **launch: Any) -> None:
        """Launch this many tasks and take them."""
        self.queue_db, self.slot = queue_db, Slot("one", 0)
        self.ids = [queue_db.launch(concurrency_key="one", **launch) for _ in range(count)]
        self.taken = self.take(count)

    def take(self, count: int) -> list[Taken]:
        """Take up to `count` tasks."""
        return self.queue_db.queue.take(self.slot, self.queue_db.owner, count)

    def ended(self, at: int, status: TaskStatus = TaskStatus.COMPLETED, **more: Any) -> Ended:
        """Return the end of a taken task."""
        one = self.taken[at]
        kind = {"error": "failed", "error_kind": "exit"} if status is not TaskStatus.COMPLETED else {}
        return Ended(one, 1000 + at, Settlement(number=one.number, claim=one.claim, status=status, **{**kind, **more}))

    def publish(self, *ended: Ended, current: Taken | None = None, count: int = 0) -> list[Taken]:
        """Publish ends and the current task, return all others to the queue, and take `count` more."""
        left = self.taken[len(ended) :]
        returned = [one for one in left if one is not current and not one.current]
        step = Step(self.slot, self.queue_db.owner, ended, current, returned, count)
        return self.queue_db.queue.advance(step).taken

    def held(self, at: int) -> Held | None:
        """Return a task as it is held by the worker, or None."""
        held = self.queue_db.store.queue.held_by(self.queue_db.owner)
        return next((one for one in held if one.id == self.ids[at]), None)

    def is_held(self, at: int) -> bool:
        """Return True if the worker holds a task."""
        return self.held(at) is not None

    def is_requested(self, at: int) -> bool:
        """Return True if another process waits for a held task."""
        held = self.held(at)
        return held is not None and held.requested is not None
