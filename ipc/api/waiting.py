"""Waits for the ends of tasks, and for the process trees of cancelled tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from .. import clock
from ..backoff import Backoff
from ..bus.client import Client
from ..errors import BackburnerError, NoSupervisor, NotFound, Temporary
from ..home import Home
from ..machine.presence import Presence
from ..model.event import ENDED, Event
from ..model.task import Task
from ..model.wait import Wait
from ..store.queue import Queue
from ..store.values import Running
from . import control
from .event_stream import EventThread

#: Seconds after which a wait reads its tasks from the store although no event has arrived.
FALLBACK_POLL = 5.0

#: Milliseconds between two checks that the processes that end a tree are alive.
CHECK_INTERVAL_MS = 1000

#: Seconds in which the bus must respond. A stopped flusher accepts connections, but never responds.
READ_TIMEOUT = 3.0


class TaskWait:
    """A wait of one caller until tasks have ended and the callbacks that are due have returned."""

    def __init__(self, queue: Queue, wait: Wait, thread: EventThread, wake: Callable[[], object]) -> None:
        """`wake()` is called, on any thread, when `is_over` may have changed."""
        #: True if a callback waits. The wait is then over before that callback returns.
        self.in_callback = False
        self._queue, self._wait, self._thread, self._wake = queue, wait, thread, wake
        self._backoff = Backoff()
        self._next_read = 0.0
        #: The event whose callbacks must have returned; -1 before the first read.
        self._last_due = -1
        self._is_behind = False
        self._is_closed = False

    def wait(self, woken: threading.Event, timeout: float | None) -> list[Task]:
        """Block until the wait is over. Return the tasks that have ended. Raises TimeoutError, BackburnerError."""
        until = deadline(timeout)
        while not self.is_over():
            woken.wait(self.delay(until))
            woken.clear()
        return self.tasks()

    def is_over(self) -> bool:
        """Return True if the wait is over. Raises BackburnerError if the manager was closed."""
        if self._is_closed:
            raise BackburnerError("The manager was closed during the wait.")
        if self._in_callback or clock.monotonic() >= self._next_read:
            self._read()
        return self._wait.is_over and (self._in_callback or self._thread.dispatched >= self._last_due)

    def delay(self, until: float) -> float:
        """Return the seconds after which to check again if `wake` is not called. Raises TimeoutError."""
        left = until - clock.monotonic()
        if left <= 0:
            raise TimeoutError("The tasks have not ended in time.")
        next_read = self._next_read - clock.monotonic()
        return min(left, self._backoff.next_delay() if self._in_callback else max(0.0, next_read))

    def tasks(self) -> list[Task]:
        """Return the tasks that have ended, in the order in which they were named."""
        return self._queue.existing(self._wait.ended)

    def record(self, event: Event) -> None:
        """Record an event whose callbacks have returned."""
        has_caught_up = self._is_behind and event.seq >= self._last_due
        if has_caught_up:
            self._is_behind = False
        if (event.type == ENDED and self._wait.record_ends([event.data["taskId"]])) or has_caught_up:
            self._wake()

    def close(self) -> None:
        """Make the caller stop waiting: no more events arrive."""
        self._is_closed = True
        self._wake()

    @property
    def _in_callback(self) -> bool:
        return self.in_callback or self._thread.is_current

    def _read(self) -> None:
        """Read the tasks from the store: for ends before the wait began, and for a log that was cleared."""
        unfinished = len(self._wait.unfinished)
        self._queue.refresh(self._wait)
        newest = self._thread.newest()
        is_due = self._last_due < 0 or len(self._wait.unfinished) < unfinished
        self._last_due = newest if is_due else min(self._last_due, newest)
        self._is_behind = self._thread.dispatched < self._last_due
        self._next_read = clock.monotonic() + FALLBACK_POLL


def wait_until_gone(queue: Queue, ids: Collection[str], rescue: Callable[[Home], object] = control.rescue) -> None:
    """Wait until none of these tasks runs under its current claim.

    Their verdicts must have been recorded. `rescue` ends the trees whose worker has died if no supervisor is running.
    Raises Temporary.
    """
    claims = {one.claim for one in _running(queue) if one.id in ids}
    presence, backoff = Presence(queue.home), Backoff()
    with Client(queue.home, read_timeout=READ_TIMEOUT) as client:
        while left := [one for one in _running(queue) if one.claim in claims]:
            if not presence.is_held("supervisor") and any(one.is_orphaned(presence) for one in left):
                rescue(queue.home)
            else:
                _wait_for_any(client, left, backoff)


def _running(queue: Queue) -> list[Running]:
    return queue.store.hosts.running()


def _wait_for_any(client: Client, left: Collection[Running], backoff: Backoff) -> None:
    """Return when one of these tasks has ended, or after the check interval. Without a bus, return sooner."""
    try:
        client.call("wait", ids=[one.id for one in left], any=True, timeoutMs=CHECK_INTERVAL_MS)
    except (NoSupervisor, NotFound, Temporary):  # NotFound: one of them was deleted
        clock.nap(backoff.next_delay())


def deadline(timeout: float | None) -> float:
    """Return the `clock.monotonic` time at which a timeout in seconds is over."""
    return float("inf") if timeout is None else clock.monotonic() + timeout
