"""Calls that are answered later, when tasks have ended or a worker has published its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count

from ..errors import BackburnerError, HeldByWorker
from ..model.event import ENDED, Line
from ..model.wait import Wait
from ..store.processes import PUBLICATION_TIMEOUT
from .connection import Call
from .methods import DEFERRED

#: The maximum number of tasks that all calls together may wait for. A task counts once for each call, and takes about a
#: hundred bytes.
MAX_WAITED = 100_000

#: Seconds until a call about a task that a worker holds is retried. The worker has usually published the task by then.
RETRY_AFTER = 0.005

#: The types of events after which a task has ended, and the types of events after which it is not running.
END_TYPES = frozenset({ENDED})
STOP_TYPES = END_TYPES | {"background_task_retrying"}


@dataclass(eq=False)
class Waiter:
    """A call that is answered when its wait is over. An event of one of `types` ends the wait for a task."""

    call: Call
    types: frozenset[str]
    wait: Wait
    #: Returns the result of the call.
    make_result: Callable[[], object]

    def answer(self) -> None:
        """Answer the call."""
        try:
            self.call.answer(self.make_result())
        except BackburnerError as error:
            self.call.fail(error)


class Waiters:
    """Waiting calls, by the tasks that they wait for. Events end their waits, so no task is polled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the time from `clock`, in monotonic seconds."""
        self._clock = clock
        self._by_task: dict[str, set[Waiter]] = {}
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._numbers = count()
        self._with_deadline = 0
        self._waited = 0

    @property
    def tasks(self) -> int:
        """Return the number of different tasks that calls wait for."""
        return len(self._by_task)

    def has_room_for(self, tasks: int) -> bool:
        """Return True if another call may wait for this number of tasks. A single call may wait for any number."""
        return not self._waited or self._waited + tasks <= MAX_WAITED

    def add(self, waiter: Waiter, timeout: float | None) -> None:
        """Answer the call when its wait is over, or after `timeout` seconds."""
        self._waited += len(waiter.wait.ids)
        for id in waiter.wait.unfinished:
            self._by_task.setdefault(id, set()).add(waiter)
        waiter.call.when_closed(partial(self._remove, waiter, timeout is not None))
        if timeout is not None:
            self._with_deadline += 1
            heappush(self._deadlines, (self._clock() + timeout, next(self._numbers), waiter))

    def observe(self, line: Line) -> None:
        """Answer the calls for which this event ends the wait."""
        if line.type not in STOP_TYPES:
            return
        id = json.loads(line.text)["taskId"]
        for waiter in list(self._by_task.get(id, ())):
            if line.type in waiter.types:
                waiter.wait.record_ends([id])
                if waiter.wait.is_over:
                    waiter.answer()

    def due(self) -> float | None:
        """Return the seconds until the next timeout, 0 if it has passed, or None if no call has a timeout."""
        while self._deadlines and self._deadlines[0][2].call.closed:
            heappop(self._deadlines)
        return max(0.0, self._deadlines[0][0] - self._clock()) if self._deadlines else None

    def expire(self) -> None:
        """Answer the calls that have timed out."""
        while self.due() == 0:
            heappop(self._deadlines)[2].answer()

    def _remove(self, waiter: Waiter, has_deadline: bool) -> None:
        self._waited -= len(waiter.wait.ids)
        for id in waiter.wait.ids:
            waiters = self._by_task.get(id, set())
            waiters.discard(waiter)
            if not waiters:
                self._by_task.pop(id, None)
        if has_deadline:
            self._with_deadline -= 1
            self._compact()

    def _compact(self) -> None:
        # A client that disconnects leaves its deadline, which may be years away, in the heap.
        if len(self._deadlines) > 2 * self._with_deadline + 64:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].call.closed]
            heapify(self._deadlines)


class HeldCalls:
    """Calls about tasks that a worker holds. They are retried until the worker has published the tasks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the time from `clock`, in monotonic seconds."""
        self._clock = clock
        self._calls: list[tuple[float, Call, Callable[[], object]]] = []

    def attempt(self, call: Call, handle: Callable[[], object]) -> object:
        """Return the result of `handle`, or DEFERRED if a worker holds the task."""
        try:
            return handle()
        except HeldByWorker:
            self._calls.append((self._clock() + PUBLICATION_TIMEOUT, call, handle))
            return DEFERRED

    def due(self) -> float | None:
        """Return the seconds until the next retry, or None if no call has to be retried."""
        return RETRY_AFTER if self._calls else None

    def retry(self) -> None:
        """Retry all calls. A call that has timed out gets the error."""
        calls, self._calls = self._calls, []
        for deadline, call, handle in calls:
            if not call.closed:
                self._retry(deadline, call, handle)

    def _retry(self, deadline: float, call: Call, handle: Callable[[], object]) -> None:
        try:
            result = handle()
        except HeldByWorker as error:
            if self._clock() < deadline:
                self._calls.append((deadline, call, handle))
            else:
                call.fail(error)
        except BackburnerError as error:
            call.fail(error)
        else:
            if result is not DEFERRED:
                call.answer(result)
