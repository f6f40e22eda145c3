"""Waits until tasks have ended, and until the process trees of cancelled tasks are gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from .. import clock
from ..backoff import Backoff
from ..bus.client import Client
from ..errors import BackburnerError, NoSupervisor, NotFound, Temporary
from ..home import Home
from ..machine.presence import Presence
from ..model.duration import Duration, to_seconds
from ..model.event import ENDED, Event
from ..model.task import Task
from ..model.wait import Wait
from ..store.queue import Queue
from ..store.values import Running
from ..text.counts import count_of
from . import control
from .event_stream import EventThread

#: Seconds after which a wait reads its tasks from the store although no event has arrived.
FALLBACK_POLL = 5.0

#: The maximum number of tasks that an error names.
MAX_NAMED = 3

#: Milliseconds between two checks that the processes that must end a tree are alive.
CHECK_INTERVAL_MS = 1000

#: Seconds in which the bus must respond. A stopped flusher accepts connections, but never responds.
READ_TIMEOUT = 3.0


class TaskWait:
    """A wait of one caller until tasks have ended and the callbacks that are due have returned."""

    def __init__(self, queue: Queue, wait: Wait, thread: EventThread, wake: Callable[[], object]) -> None:
        """Start a wait that calls `wake()`, on any thread, when `is_over` may have changed."""
        #: True if a callback waits. The wait then does not include callbacks.
        self.in_callback = False
        self._queue, self._wait, self._thread, self._wake = queue, wait, thread, wake
        self._backoff = Backoff()
        self._next_read = 0.0
        #: The wait includes the callbacks of events up to this number. It is -1 before the first read.
        self._last_due = -1
        self._is_behind = False
        self._is_closed = False

    def wait(self, woken: threading.Event, until: float) -> list[Task]:
        """Block until the wait is over. Return the tasks that have ended. Raises TimeoutError, BackburnerError.

        `until` is a time of `clock.monotonic`.
        """
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
        remaining = until - clock.monotonic()
        if remaining <= 0:
            raise TimeoutError(self._timeout_message())
        next_read = self._next_read - clock.monotonic()
        return min(remaining, self._backoff.next_delay() if self._in_callback else max(0.0, next_read))

    def _timeout_message(self) -> str:
        unfinished = [id for id in self._wait.ids if id in self._wait.unfinished]
        named = ", ".join(unfinished[:MAX_NAMED]) + (", …" if len(unfinished) > MAX_NAMED else "")
        have = "has" if len(unfinished) == 1 else "have"
        message = f"{len(unfinished)} of {count_of(len(self._wait.ids), 'task')} {have} not ended in time: {named}"
        if Presence(self._queue.home).is_held("supervisor"):
            return f"{message}."
        return f"{message}. No supervisor is running for {self._queue.home.folder}; manager.start() starts one."

    def tasks(self) -> list[Task]:
        """Return the tasks that have ended, in the order in which they were named."""
        return self._queue.existing(self._wait.ended)

    def record(self, event: Event) -> None:
        """Record an event after its callbacks have returned."""
        has_caught_up = self._is_behind and event.seq >= self._last_due
        if has_caught_up:
            self._is_behind = False
        if (event.type == ENDED and self._wait.record_ends([event.data["taskId"]])) or has_caught_up:
            self._wake()

    def close(self) -> None:
        """Make the caller stop waiting, because no more events arrive."""
        self._is_closed = True
        self._wake()

    @property
    def _in_callback(self) -> bool:
        return self.in_callback or self._thread.is_current

    def _read(self) -> None:
        """Read the tasks from the store. They may have ended before the wait, or the log may have been cleared."""
        unfinished = len(self._wait.unfinished)
        self._queue.refresh(self._wait)
        newest = self._thread.newest()
        is_due = self._last_due < 0 or len(self._wait.unfinished) < unfinished
        self._last_due = newest if is_due else min(self._last_due, newest)
        self._is_behind = self._thread.dispatched < self._last_due
        self._next_read = clock.monotonic() + FALLBACK_POLL


def wait_until_gone(queue: Queue, ids: Collection[str], rescue: Callable[[Home], object] = control.rescue) -> None:
    """Wait until none of these tasks runs under its current claim.

    Their verdicts must have been recorded. If no supervisor is running, `rescue` ends the trees of dead workers.
    Raises Temporary.
    """
    claims = {task.claim for task in _running(queue) if task.id in ids}
    presence, backoff = Presence(queue.home), Backoff()
    with Client(queue.home, read_timeout=READ_TIMEOUT) as client:
        while tasks := [task for task in _running(queue) if task.claim in claims]:
            if not presence.is_held("supervisor") and any(task.is_orphaned(presence) for task in tasks):
                rescue(queue.home)
            else:
                _wait_for_any(client, tasks, backoff)


def _running(queue: Queue) -> list[Running]:
    return queue.store.hosts.running()


def _wait_for_any(client: Client, tasks: Collection[Running], backoff: Backoff) -> None:
    """Return when one of these tasks has ended, or after the check interval. Without a bus, return sooner."""
    try:
        client.call("wait", ids=[task.id for task in tasks], any=True, timeoutMs=CHECK_INTERVAL_MS)
    except (NoSupervisor, NotFound, Temporary):  # NotFound: a task was deleted
        clock.nap(backoff.next_delay())


def deadline(timeout: Duration | None) -> float:
    """Return the `clock.monotonic` time at which a timeout is over. Raises InvalidInput."""
    return float("inf") if timeout is None else clock.monotonic() + to_seconds(timeout, "timeout")
