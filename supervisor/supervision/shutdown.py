"""The shutdown of a home: first its workers, then the fork server and the flusher."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ...ipc import clock
from ...ipc.store.queue import Queue
from ..log import log
from ..pool.dispatch import Dispatch
from ..pool.fork_server_client import ForkServerClient
from ..pool.workers import Workers
from ..system.systemd import notify
from .flusher_watch import FlusherWatch
from .unresponsive import time_limit


class Shutdown:
    """Waits for running tasks up to `shutdown_grace_s`, or ends their trees, then stops the other roles."""

    def __init__(self, queue: Queue, workers: Workers, fork_server: ForkServerClient, flusher: FlusherWatch) -> None:
        self._queue = queue
        self._table = queue.store.hosts
        self._workers = workers
        self._fork_server = fork_server
        self._flusher = flusher
        self._deadline: float | None = None
        self._ends_trees = self._requeues = False
        self._has_dismissed = False

    @property
    def has_begun(self) -> bool:
        """Return True once `begin` has succeeded."""
        return self._deadline is not None

    def begin(self, dispatch: Dispatch) -> None:
        """Order every worker to exit after its task."""
        if self.has_begun:
            return
        notify("STOPPING=1")
        dispatch.unpark_all()
        grace = self._queue.config.shutdown_grace_s
        running = sum(worker.slot is not None and not worker.assigned for worker in self._workers)
        log("stopping", running=running, grace=grace)
        for worker in self._workers:
            worker.order({"leave": True})
        self._deadline = clock.monotonic() + grace

    def end_trees(self, requeue: bool) -> None:
        """From the next turn on, end the process trees of all tasks. With `requeue`, requeue the tasks."""
        if not self._ends_trees:
            self._ends_trees, self._requeues = True, requeue
            self._deadline = clock.monotonic() + 2 * time_limit(self._queue.config)

    def interrupt_tasks(self, on_interrupt: Callable[[], None]) -> None:
        """Interrupt running tasks if their trees are to be ended. Held tasks may have started since the last call."""
        if not self._ends_trees:
            return
        for running in self._table.running():
            if running.owner is not None and running.verdict is None:
                self._queue.interrupt(running, self._requeues)
                running.owner.identity.signal(signal.SIGUSR1)
                on_interrupt()

    def rest(self) -> float | None:
        """Return the seconds to wait for workers, or None if there are none or their time is over."""
        assert self._deadline is not None, "it has begun"
        rest = self._deadline - clock.monotonic()
        return rest if len(self._workers) and rest > 0 else None

    def stop_roles(self) -> bool:
        """Stop the fork server and the flusher. Return True once the supervisor can exit."""
        if not self._has_dismissed:
            self._log_tasks_left_running()
            self._fork_server.dismiss()
            self._has_dismissed = True
        self._flusher.check_stopped()
        flusher = self._flusher.process()
        if flusher is not None:
            flusher.signal(signal.SIGTERM)
            return False
        if not len(self._workers) and not self._fork_server.lost:  # it exits after its last child
            return False
        self._fork_server.reap()
        return True

    def _log_tasks_left_running(self) -> None:
        for running in self._table.running():
            if running.owner is not None:
                log("left_running", id=running.id, pid=running.pid)
