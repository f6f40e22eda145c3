"""Rescue the tasks of dead workers, once their stray processes are gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...ipc.store.interface import QueueStore, Store
from ...ipc.store.queue import Queue
from ...ipc.store.values import Running
from ..system.children import describe_exit
from .fork_server_client import ForkServerClient
from .recovery import remove_files, rescue
from .workers import WorkerHandle

#: The maximum number of exit statuses that are remembered until the tasks of their workers are rescued.
MAX_STATUSES = 1000


class Reaper:
    """Keeps the tasks and slots of dead workers until the fork server has killed their remaining processes (strays)."""

    def __init__(self, fork_server: ForkServerClient) -> None:
        self._fork_server = fork_server
        self._gone: list[WorkerHandle] = []
        self._waiting: dict[int, list[Running]] = {}
        self._swept: set[int] = set()
        self._statuses: dict[int, int] = {}

    @property
    def is_waiting(self) -> bool:
        """Return True while there are tasks to rescue."""
        return bool(self._waiting)

    def __contains__(self, running: Running) -> bool:
        return any(running.claim == task.claim for tasks in self._waiting.values() for task in tasks)

    def add_gone(self, worker: WorkerHandle) -> None:
        """Note that a worker has exited or died. Its tasks are looked up in the next turn."""
        self._gone.append(worker)

    def receive(self, message: dict[str, Any]) -> None:
        """Handle the message of the fork server that a child has exited or that the strays are gone."""
        if "swept" in message:
            self._swept.add(message["swept"])
        elif message["status"]:  # an exit without an error is not logged
            self._statuses[message["died"]] = message["status"]
            while len(self._statuses) > MAX_STATUSES:  # the statuses of workers without a task are never read
                del self._statuses[next(iter(self._statuses))]

    def take_gone(self, store: Store) -> Iterator[WorkerHandle]:
        """Look up the tasks of the workers that are gone. Yield the workers without tasks. Their slots are free now."""
        while self._gone:
            worker = self._gone[-1]
            _unpark(worker, store.queue)
            tasks = [task for task in store.hosts.running() if task.owner and task.owner.number == worker.owner]
            self.add(tasks)
            if not tasks and worker.owner is not None:
                remove_files(store.home, worker.owner)
            self._gone.pop()
            if not tasks:
                yield worker

    def add(self, tasks: list[Running]) -> None:
        """Rescue these tasks of dead workers after the fork server has killed the strays."""
        if tasks:
            self._waiting[self._fork_server.sweep()] = tasks

    def resubmit(self) -> None:
        """Repeat all requests, because the fork server was replaced."""
        waiting, self._waiting = list(self._waiting.values()), {}
        for tasks in waiting:
            self.add(tasks)

    def rescue_ready(self, queue: Queue) -> bool:
        """Rescue the tasks of workers without remaining strays. Return True if there were any."""
        ready = sorted(self._swept & self._waiting.keys())
        for ticket in ready:
            for running in self._waiting[ticket]:
                pid = running.owner.identity.pid if running.owner else 0
                rescue(queue, running, describe_exit(self._statuses.get(pid)))
                self._statuses.pop(pid, None)
            del self._waiting[ticket]
        self._swept.clear()
        return bool(ready)


def _unpark(worker: WorkerHandle, slots: QueueStore) -> None:
    """Keep launches from claiming tasks for a worker that is gone. Tasks that were claimed before are running tasks."""
    if worker.owner is not None and worker.owner in slots.parked():
        slots.unpark(worker.owner)
