"""Who wants to hear of a home's events in this process: callbacks, handlers, and those who wait for tasks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .. import clock
from ..backoff import Backoff
from ..errors import NotFound
from ..model.event import Event, EventBus, Payload
from ..model.task import Task, TaskStatus
from ..store.queue import Queue
from .event_stream import Follower

STARTED, ENDED = "background_task_started", "background_task_completed"

#: Seconds after which one who waits looks at the tasks themselves, though nothing was told.
PARANOIA = 5.0

Callback = Callable[[Task], object]
Remove = Callable[[], None]


class Listeners:
    """All listeners of one manager; events are handed to them one after the other."""

    def __init__(self, queue: Queue) -> None:
        """Look tasks up in this queue."""
        self.bus = EventBus()
        self._callbacks = EventBus()
        self._queue = queue
        self._waiting: set[Waiting] = set()
        self._lock = threading.Lock()

    def on_start(self, callback: Callback, after: int) -> Remove:
        """Call back with each task that starts, beginning after an event's number."""
        return self._call(STARTED, callback, self._as_started, after)

    def on_complete(self, callback: Callback, after: int) -> Remove:
        """Call back with each task that ends, beginning after an event's number."""
        return self._call(ENDED, callback, self._as_ended, after)

    def handle(self, event: Event) -> None:
        """Tell all callbacks and handlers."""
        payload = event.to_json()
        self._callbacks.dispatch(event.type, payload)
        self.bus.dispatch(event.type, payload)

    def handled(self, event: Event) -> None:
        """Tell who waits: all callbacks have returned."""
        with self._lock:
            waiting = list(self._waiting)
        for one in waiting:
            one.told(event)

    def add(self, waiting: Waiting) -> None:
        """Have somebody who waits told of what happens."""
        with self._lock:
            self._waiting.add(waiting)

    def remove(self, waiting: Waiting) -> None:
        """Tell them no more."""
        with self._lock:
            self._waiting.discard(waiting)

    def give_up(self) -> None:
        """Nothing more will be told."""
        with self._lock:
            waiting = list(self._waiting)
        for one in waiting:
            one.give_up()

    def _call(self, type: str, callback: Callback, task_of: Callable[[Event], Task], after: int) -> Remove:
        def hear(payload: Payload) -> None:
            event = Event.from_json(payload)
            if event.seq > after:
                _call(callback, task_of(event))

        return self._callbacks.subscribe(type, hear)

    def _as_started(self, event: Event) -> Task:
        """The task as it was when it started; by now it may have ended."""
        task = self._task(event)
        if task.status is TaskStatus.RUNNING and task.attempt == event.data["attempt"]:
            return task
        was: dict[str, Any] = {"attempt": event.data["attempt"], "started_at": event.at, "completed_at": None}
        return replace(task, status=TaskStatus.RUNNING, **was, **_UNKNOWN_YET)

    def _as_ended(self, event: Event) -> Task:
        """The task as it was when it ended; by now it may be queued again."""
        task = self._task(event)
        if task.status == event.data["status"] and task.completed_at == event.at:
            return task
        names = {"result": "result", "error": "error", "error_kind": "errorKind", "session_id": "sessionId"}
        was = {attribute: event.data[name] for attribute, name in names.items()}
        status = TaskStatus(event.data["status"])
        return replace(task, status=status, completed_at=event.at, **was, **_NO_MORE)

    def _task(self, event: Event) -> Task:
        try:
            return self._queue.get(event.data["taskId"])
        except NotFound:  # cleared meanwhile: what the event tells must do
            return Task(
                id=event.data["taskId"],
                agent="",
                concurrency_key="",
                cwd="",
                status=TaskStatus.PENDING,
                queued_at=event.at,
                parent_session_id=event.parent_session_id,
            )


def _call(callback: Callback, task: Task) -> None:
    try:
        callback(task)
    except BaseException:  # that it wants to exit ends no thread of ours
        logging.getLogger("backburner").exception("a callback failed for task %s", task.id)


#: What is true of a task only until it has ended, and only when it has.
_NO_MORE: dict[str, Any] = {"stopping": False, "waiting_for": None, "pid": None, "slot": None}
_UNKNOWN_YET: dict[str, Any] = {
    "result": None,
    "result_truncated": False,
    "error": None,
    "error_kind": None,
    "exit_code": None,
    "signal": None,
    "waiting_for": None,
}


class Waiting:
    """Tasks that somebody waits for. `stir` is called when it is worth looking whether it is over."""

    def __init__(self, queue: Queue, ids: Sequence[str], any: bool, stir: Callable[[], object]) -> None:
        """Wait for all of these tasks, or for any of them."""
        #: Whether a callback waits, so that nothing is told before it returns.
        self.within = False
        self._queue = queue
        self._ids = tuple(dict.fromkeys(ids))
        self._open = set(self._ids)
        self._any = any
        self._stir = stir
        self._backoff = Backoff()
        self._look_at = 0.0
        self._fence = -1
        self._behind = False
        self.given_up = False

    def told(self, event: Event) -> None:
        """Take note of an end; called when its callbacks have returned."""
        if event.type == ENDED and event.data["taskId"] in self._open:
            self._open.discard(event.data["taskId"])
            self._stir()
        elif self._behind and event.seq >= self._fence:
            self._behind = False
            self._stir()

    def give_up(self) -> None:
        """Nothing more will be told."""
        self.given_up = True
        self._stir()

    def over(self, follower: Follower) -> bool:
        """Whether they have ended, and all callbacks that were due when this was first asked have returned."""
        within = self.within or follower.here
        if within or clock.monotonic() >= self._look_at:
            self._look(follower)
        met = not self._open or (self._any and len(self._open) < len(self._ids))
        return met and (within or follower.after >= self._fence)

    def rest(self, follower: Follower) -> float:
        """Seconds after which one should ask again, though nothing stirred."""
        within = self.within or follower.here
        return self._backoff.next_delay() if within else max(0.0, self._look_at - clock.monotonic())

    def tasks(self) -> list[Task]:
        """Those that have ended, in the order in which they were named."""
        found = (self._find(id) for id in self._ids if id not in self._open)
        return [task for task in found if task is not None]

    def _look(self, follower: Follower) -> None:
        """At the tasks themselves: the first time, and in case the log was cleared under us."""
        ended = {id for id in tuple(self._open) if _is_over(self._find(id))}
        self._open -= ended
        newest = follower.newest()
        self._fence = newest if ended or self._fence < 0 else min(self._fence, newest)
        self._behind = follower.after < self._fence
        self._look_at = clock.monotonic() + PARANOIA

    def _find(self, id: str) -> Task | None:
        try:
            return self._queue.get(id)
        except NotFound:
            return None


def _is_over(task: Task | None) -> bool:
    """Whether a task has ended, or was cleared meanwhile."""
    return task is None or task.status.ended
