"""The queue of a home without a supervisor, in which a test launches, claims and settles tasks itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from backburner.ipc.model.claim import Claimed, Settlement, Slot
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store import open_store
from backburner.ipc.store.groups import Groups
from backburner.ipc.store.queue import Queue

#: More events than any test has.
MANY = 10_000


class QueueDatabase:
    """The queue of a test's home, with defaults for the arguments that most tests do not care about."""

    def __init__(self, folder: Path, **config: Any) -> None:
        """Open a home with these settings."""
        self.home = Home(folder).prepare()
        self.config = BackgroundConfig.of({"durability": "normal", **config})
        self.store = open_store(self.home, self.config, "command")
        self.queue = Queue(self.store, self.config)
        self.groups = Groups(self.store, self.config)
        self.log = self.store.events
        self.owner = self._worker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.store.close()

    def _worker(self) -> int:
        """Register a worker that died long ago, so that no process is signalled, and return its number."""
        me = Identity.mine()
        return self.store.hosts.register("worker", Identity(me.pid, me.ticks - 1, me.boot, me.pidns))

    def launch(self, **fields: Any) -> str:
        """Launch a task, by default the command `true`, and return its id."""
        work = {} if {"prompt", "call", "command"} & fields.keys() else {"command": ("true",)}
        return self.queue.launch(LaunchInput(**{**work, **fields})).id

    def claim(self, group: str = "command", slot: int = 0, owner: int | None = 0) -> Claimed | None:
        """Claim the next task of a group. The owner None is the supervisor, for external tasks."""
        return self.queue.claim(Slot(group, slot), self.owner if owner == 0 else owner)

    def start(self, id: str, group: str = "command", slot: int = 0) -> Claimed:
        """Claim the next task of a group, which must be this one."""
        claimed = self.claim(group, slot)
        assert claimed is not None, "there was nothing to claim"
        assert claimed.id == id, "another task was first"
        return claimed

    def settle(self, claimed: Claimed, status: TaskStatus = TaskStatus.COMPLETED, **more: Any) -> str | None:
        """Settle an attempt, and return the status of its task."""
        if status is TaskStatus.ERROR:
            more = {"error": "It failed.", "error_kind": "failed", **more}
        return self.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status, **more))

    def run(self, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any) -> str:
        """Launch a task, settle it at once with this status, and return its id."""
        id = self.launch(**fields)
        claimed = self.claim(self.queue.get(id).concurrency_key)
        assert claimed is not None and claimed.id == id, "another task was first"
        self.settle(claimed, status)
        return id

    def get(self, id: str) -> Task:
        """Return a task."""
        return self.queue.get(id)

    def event_types(self, parent: str | None = None) -> list[str]:
        """Return the types of all events, or of those of a parent, in order."""
        return [line.type for line in self.log.read(parent, 0, MANY)]
