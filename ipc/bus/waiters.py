"""Calls that are answered later: when tasks have ended, or when a worker has published its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count

from ..errors import BackburnerError, HeldByWorker
from ..model.event import Line
from ..store.publication import TIMEOUT
from .connection import Call
from .methods import DEFERRED

#: Tasks that all calls together may wait for. A task counts once for each call, and takes about a hundred bytes.
MAX_WAITED = 100_000

#: Seconds until a call about a task that a worker holds is retried. The worker mostly publishes it earlier.
RETRY_AFTER = 0.005

#: The types of the events after which a task has ended, and after which it no longer runs.
ENDED = frozenset({"background_task_completed"})
STOPPED = ENDED | {"background_task_retrying"}


@dataclass(eq=False)
class Waiter:
    """A call that is answered when all its tasks (or any of them) have had an event of certain types."""

    call: Call
    types: frozenset[str]
    #: All its tasks, in the order of the request.
    ids: Sequence[str]
    #: The tasks that have not had such an event yet.
    remaining: set[str]
    #: Makes the result from the other tasks; its second argument is True if the time is up.
    make_result: Callable[[list[str], bool], object]
    any: bool = False

    @property
    def done(self) -> bool:
        """Return True if it need not wait any longer."""
        return not self.remaining or (self.any and len(self.remaining) < len(self.ids))

    def result(self, timed_out: bool) -> object:
        """Return the result that the call gets now."""
        return self.make_result([id for id in self.ids if id not in self.remaining], timed_out)

    def answer(self, timed_out: bool) -> None:
        """Answer the call."""
        try:
            self.call.answer(self.result(timed_out))
        except BackburnerError as error:
            self.call.fail(error)


class Waiters:
    """The calls that wait, by the tasks they wait for. Nothing is polled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the time from `clock`: seconds that never go back."""
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
        """Answer the call when it is done, or after `timeout` seconds."""
        self._waited += len(waiter.ids)
        for id in waiter.remaining:
            self._by_task.setdefault(id, set()).add(waiter)
        waiter.call.when_closed(partial(self._remove, waiter, timeout is not None))
        if timeout is not None:
            self._with_deadline += 1
            heappush(self._deadlines, (self._clock() + timeout, next(self._numbers), waiter))

    def observe(self, line: Line) -> None:
        """Answer the calls that are done after this event."""
        if line.type not in STOPPED:
            return
        id = json.loads(line.text)["taskId"]
        for waiter in list(self._by_task.get(id, ())):
            if line.type in waiter.types:
                waiter.remaining.discard(id)
                if waiter.done:
                    waiter.answer(False)

    def due(self) -> float | None:
        """Return the seconds until the first timeout, 0 if it is over, or None if no call has a timeout."""
        while self._deadlines and self._deadlines[0][2].call.closed:
            heappop(self._deadlines)
        return max(0.0, self._deadlines[0][0] - self._clock()) if self._deadlines else None

    def expire(self) -> None:
        """Answer the calls whose timeout is over."""
        while self.due() == 0:
            heappop(self._deadlines)[2].answer(True)

    def _remove(self, waiter: Waiter, has_deadline: bool) -> None:
        self._waited -= len(waiter.ids)
        for id in waiter.ids:
            waiters = self._by_task.get(id, set())
            waiters.discard(waiter)
            if not waiters:
                self._by_task.pop(id, None)
        if has_deadline:
            self._with_deadline -= 1
            self._compact()

    def _compact(self) -> None:
        # A client that disconnects leaves its deadline in the heap, which may be years away.
        if len(self._deadlines) > 2 * self._with_deadline + 64:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].call.closed]
            heapify(self._deadlines)


class HeldCalls:
    """Calls about tasks that a worker holds. They are retried until the worker has published the tasks."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the time from `clock`: seconds that never go back."""
        self._clock = clock
        self._calls: list[tuple[float, Call, Callable[[], object]]] = []

    def attempt(self, call: Call, handle: Callable[[], object]) -> object:
        """Return the result of `handle`, or DEFERRED if a worker holds the task."""
        try:
            return handle()
        except HeldByWorker:
            self._calls.append((self._clock() + TIMEOUT, call, handle))
            return DEFERRED

    def due(self) -> float | None:
        """Return the seconds until the next retry, or None if no call has to be retried."""
        return RETRY_AFTER if self._calls else None

    def retry(self) -> None:
        """Retry all calls. A call whose time is up gets the error."""
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
