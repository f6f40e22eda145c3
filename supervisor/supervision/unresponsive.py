"""Kill workers that keep other processes waiting for too long. Then their tasks are rescued."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.store.values import Holder, Running
from ..log import log

#: Seconds after `kill_grace_s` within which a worker must have ended a task or published.
MARGIN = 1.0


def time_limit(config: BackgroundConfig) -> float:
    """Return the seconds within which a worker must end a task with a verdict, or publish held tasks."""
    return config.kill_grace_s + MARGIN


class UnresponsiveWorkers:
    """Remembers since when other processes have been waiting for each worker."""

    def __init__(self) -> None:
        self._verdicts: dict[int, float] = {}
        self._requests: dict[Holder, float] = {}

    def deadlines(self) -> list[float]:
        """Return the times of the next checks (seconds, monotonic)."""
        return [*self._verdicts.values(), *self._requests.values()]

    def check_verdicts(self, running: Iterable[Running], limit: float) -> None:
        """Kill the workers whose task has had a verdict for `limit` seconds and is still running."""
        now = clock.monotonic()
        decided = {one.claim: one for one in running if one.verdict is not None and one.owner is not None}
        self._verdicts = {claim: self._verdicts.get(claim, now + limit) for claim in decided}
        for claim in [claim for claim, deadline in self._verdicts.items() if deadline <= now]:
            owner = decided[claim].owner
            assert owner is not None, "those without an owner are left out"
            log("overdue", pid=owner.identity.pid, id=decided[claim].id)
            owner.identity.signal(signal.SIGKILL)
            self._verdicts[claim] = now + MARGIN  # until it is dead

    def check_requests(self, holders: Iterable[Holder], limit: float) -> None:
        """Kill the workers that have not published the tasks that they hold `limit` seconds after a request."""
        now = clock.monotonic()
        # A holder includes the time of its request. After it has published, a new request makes it another key here.
        self._requests = {one: self._requests.get(one, now + limit) for one in holders if one.requested is not None}
        for one in [one for one, deadline in self._requests.items() if deadline <= now]:
            log("unpublished", pid=one.process.identity.pid)
            one.process.identity.signal(signal.SIGKILL)
            self._requests[one] = now + MARGIN  # until it is dead
