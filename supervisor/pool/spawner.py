"""Spawn workers through the fork server, with growing delays if they die at once."""

from __future__ import annotations

import socket

from ...ipc import clock
from ...ipc.backoff import RestartTimer
from ..log import log_trouble
from .fork_server_client import ForkServerClient
from .shared_limits import SharedLimits
from .workers import WorkerHandle, Workers

#: When this number of workers in a row have died before their first report, the fork server is replaced.
MAX_FAILED_SPAWNS = 5

#: Seconds until the next order after the fork server could not fork.
REFUSAL_REST = 0.5


class Spawner:
    """Orders workers from the fork server, and counts the workers that fail."""

    def __init__(self, fork_server: ForkServerClient, workers: Workers, shared: SharedLimits) -> None:
        self._fork_server = fork_server
        self._workers = workers
        self._shared = shared
        self._spawning: dict[int, WorkerHandle] = {}
        self._failed_spawns = 0
        self._timer = RestartTimer()
        #: The time (seconds, monotonic) until which no process is ordered, because none could be forked.
        self._refused_until = 0.0

    @property
    def is_waiting(self) -> bool:
        """Return True while the fork server has not reported an ordered worker."""
        return bool(self._spawning)

    def spawn_worker(self) -> WorkerHandle:
        """Order a worker."""
        ours, theirs = socket.socketpair()
        worker = self._workers.add(ours)
        slot = worker.shared = self._shared.open()
        ticket = self._fork_server.spawn("worker", theirs, () if slot is None else slot.descriptors)
        self._spawning[ticket] = worker
        theirs.close()
        return worker

    def spawned(self, ticket: int, pid: int) -> bool:
        """Note the PID of an ordered worker. Return False if no worker was ordered under this ticket."""
        worker = self._spawning.pop(ticket, None)
        if worker is None:
            return False
        self._workers.spawned(worker, pid)
        return True

    def refused(self, ticket: int, why: str) -> None:
        """Note that no process can be forked now. This is no failure of the fork server, so it is not replaced."""
        log_trouble(REFUSAL_REST, f"No process can be started now: {why}.")
        self._refused_until = clock.monotonic() + REFUSAL_REST
        self._failed_spawns = 0
        self._spawning.pop(ticket, None)

    def forget(self) -> None:
        """Forget the orders to a dead fork server. With it, the channels of the ordered workers were closed."""
        self._spawning.clear()

    def note_gone(self, worker: WorkerHandle) -> None:
        """Count a worker that died before its first report. After several, kill the fork server to have it replaced."""
        if worker.pid is None and clock.monotonic() < self._refused_until:
            return
        self._failed_spawns = 0 if worker.owner is not None else self._failed_spawns + 1
        if self._failed_spawns:
            self._timer.note_start()
        if self._failed_spawns >= MAX_FAILED_SPAWNS:
            self._failed_spawns = 0
            self._fork_server.kill_process()

    def limit(self, workers: int) -> int:
        """Return the maximum number of workers now: `workers`, or not more than exist already while spawns fail."""
        is_due = self._timer.is_due() and clock.monotonic() >= self._refused_until
        return workers if is_due else min(len(self._workers), workers)

    def rest(self) -> float:
        """Return the seconds until workers can be spawned again, or infinity if they can be spawned now."""
        refused = self._refused_until - clock.monotonic()
        return min(self._timer.rest(), refused if refused > 0 else float("inf"))
