"""The transactions of a worker. Each publishes results and takes tasks."""

from __future__ import annotations

from collections.abc import Callable

from ...ipc import clock
from ...ipc.errors import Temporary
from ...ipc.model.claim import Slot, Step, Taken
from ...ipc.store.queue import Queue
from ..log import log_trouble
from ..role import TROUBLE_REST
from .parking import Parking


class Publisher:
    """Publishes and takes tasks for one worker. If no task is ready for the worker, it is parked."""

    def __init__(self, queue: Queue, owner: int, parking: Parking, is_home_lost: Callable[[], bool]) -> None:
        self.owner = owner
        self._queue = queue
        self._parking = parking
        self._is_home_lost = is_home_lost

    def take(self, slot: Slot, count: int, key: str | None = None) -> list[Taken]:
        """Take up to `count` tasks. If `count` is 0, take one task, and do not park. Raises Temporary.

        With a key, which needs a `count` of 0, take a task with that key.
        """
        if count == 0:
            return self._queue.take(slot, self.owner, 1, key)
        return self._advance(Step(slot, self.owner, count=count))

    def publish(self, step: Step) -> list[Taken]:
        """Publish a step, and return the tasks that were taken. Results are kept until they are written.

        Raises:
            Temporary: The home is lost.
        """
        while True:
            try:
                return self._advance(step)
            except Temporary as error:
                self.wait_after(error)

    def wait_after(self, error: Temporary) -> None:
        """Rest before another try. Raises the error instead if the home is lost."""
        if self._is_home_lost():
            raise error
        log_trouble(TROUBLE_REST, error)
        clock.nap(TROUBLE_REST)

    def _advance(self, step: Step) -> list[Taken]:
        taken, parked, _ = self._queue.advance(step)
        if parked:
            self._parking.start(self._queue.config.worker_idle_s)
        return taken
