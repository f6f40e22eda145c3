"""Kill workers that keep other processes waiting for too long. Their tasks are rescued afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.store.values import Holder, Running
from ..log import log

#: Seconds that a worker gets in addition to `kill_grace_s` to end a task or to publish.
MARGIN = 1.0


def time_limit(config: BackgroundConfig) -> float:
    """Return the seconds within which a worker must end a task with a verdict, or publish held tasks."""
    return config.kill_grace_s + MARGIN


class UnresponsiveWorkers:
    """Remembers the time since which other processes have been waiting for each worker."""

    def __init__(self) -> None:
        self._verdicts: dict[int, float] = {}
        self._requests: dict[Holder, float] = {}

    def deadlines(self) -> list[float]:
        """Return the times of the next checks (seconds, monotonic)."""
        return [*self._verdicts.values(), *self._requests.values()]

    def check_verdicts(self, running: Iterable[Running], limit: float) -> None:
        """Kill each worker that has not ended its task `limit` seconds after the task got a verdict."""
        now = clock.monotonic()
        decided = {task.claim: task for task in running if task.verdict is not None and task.owner is not None}
        self._verdicts = {claim: self._verdicts.get(claim, now + limit) for claim in decided}
        for claim in [claim for claim, deadline in self._verdicts.items() if deadline <= now]:
            owner = decided[claim].owner
            assert owner is not None, "tasks without an owner are left out"
            log("overdue", pid=owner.identity.pid, id=decided[claim].id)
            owner.identity.signal(signal.SIGKILL)
            self._verdicts[claim] = now + MARGIN  # until it is dead

    def check_requests(self, holders: Iterable[Holder], limit: float) -> None:
        """Kill each worker that has not published its held tasks `limit` seconds after a request."""
        now = clock.monotonic()
        # A holder includes the time of its request. So a request after the worker has published is a new key here.
        requested = [holder for holder in holders if holder.requested is not None]
        self._requests = {holder: self._requests.get(holder, now + limit) for holder in requested}
        for holder in [holder for holder, deadline in self._requests.items() if deadline <= now]:
            log("unpublished", pid=holder.process.identity.pid)
            holder.process.identity.signal(signal.SIGKILL)
            self._requests[holder] = now + MARGIN  # until it is dead
