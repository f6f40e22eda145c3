"""A home without a supervisor, whose tasks a test runs by hand: the queue's own verbs and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from backburner.ipc.model.claim import Claimed, Settlement, Slot
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store.groups import Groups
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore

#: More events than any test makes.
MANY = 10_000


class Yard:
    """Launch, claim, settle, and look at what was written."""

    def __init__(self, folder: Path, **config: Any) -> None:
        """Open that home, with these settings."""
        self.home = Home(folder).prepare()
        self.config = BackgroundConfig.of({"durability": "normal", **config})
        self.database = SqliteStore(self.home, "normal")
        self.queue = Queue(self.database, self.config)
        self.groups = Groups(self.database, self.config)
        self.log = self.database.events
        self.owner = self._worker()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.database.close()

    def _worker(self) -> int:
        """The number of a worker that died long ago: nobody is signalled."""
        me = Identity.mine()
        row = {"role": "worker", "pid": me.pid, "ticks": me.ticks - 1, "boot": me.boot, "pidns": me.pidns, "since": 0}
        with self.database.write() as transaction:
            return transaction.insert("insert_process", row)

    def launch(self, **said: Any) -> str:
        """Launch `true`, unless another thing is said; the id."""
        what = {} if {"prompt", "call", "command"} & said.keys() else {"command": ("true",)}
        return self.queue.launch(LaunchInput(**{**what, **said})).id

    def claim(self, group: str = "command", slot: int = 0, owner: int | None = 0) -> Claimed | None:
        """Start the next task of a group in that slot; an owner of None is the supervisor, for work done outside."""
        return self.queue.claim(Slot(group, slot), self.owner if owner == 0 else owner)

    def start(self, id: str, group: str = "command", slot: int = 0) -> Claimed:
        """Start the next task of a group, which must be that one."""
        claimed = self.claim(group, slot)
        assert claimed is not None, "there was nothing to claim"
        assert claimed.id == id, "another task was first"
        return claimed

    def settle(self, claimed: Claimed, status: TaskStatus = TaskStatus.COMPLETED, **more: Any) -> str | None:
        """End a try; the status that its task has now."""
        if status is TaskStatus.ERROR:
            more = {"error": "It failed.", "error_kind": "failed", **more}
        return self.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status, **more))

    def run(self, status: TaskStatus = TaskStatus.COMPLETED, **said: Any) -> str:
        """Launch a task, run it at once, and have it end so; its id."""
        id = self.launch(**said)
        claimed = self.claim(self.queue.get(id).concurrency_key)
        assert claimed is not None and claimed.id == id, "another task was first"
        self.settle(claimed, status)
        return id

    def get(self, id: str) -> Task:
        """The task as it is now."""
        return self.queue.get(id)

    def told(self, parent: str | None = None) -> list[str]:
        """The types of all events, or of one parent's, in order."""
        return [line.type for line in self.log.read(parent, 0, MANY)]
