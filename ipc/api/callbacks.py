"""The callbacks and event handlers of one manager."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import NotFound
from ..model.event import ENDED, STARTED, Event, EventBus, Payload
from ..model.task import Task, TaskStatus
from ..store.queue import Queue

Callback = Callable[[Task], object]
Remove = Callable[[], None]

#: The fields that are not set yet while a task runs, and the fields that are no longer set once it has ended.
_NOT_ENDED: dict[str, Any] = {
    "result": None,
    "result_truncated": False,
    "error": None,
    "error_kind": None,
    "exit_code": None,
    "signal": None,
    "waiting_for": None,
}
_NOT_RUNNING: dict[str, Any] = {"stopping": False, "waiting_for": None, "pid": None, "slot": None}


class Callbacks:
    """Calls callbacks with tasks and handlers with events, one after the other."""

    def __init__(self, queue: Queue) -> None:
        #: The bus that dispatches all events.
        self.bus = EventBus()
        self._callbacks = EventBus()
        self._queue = queue

    def on_start(self, callback: Callback, after: int) -> Remove:
        """Call `callback` with each task that starts. Events up to the number `after` are ignored."""
        return self._add(STARTED, callback, self._as_started, after)

    def on_complete(self, callback: Callback, after: int) -> Remove:
        """Call `callback` with each task that ends. Events up to the number `after` are ignored."""
        return self._add(ENDED, callback, self._as_ended, after)

    def dispatch(self, event: Event) -> None:
        """Call all callbacks and handlers of an event."""
        payload = event.to_json()
        self._callbacks.dispatch(event.type, payload)
        self.bus.dispatch(event.type, payload)

    def _add(self, type: str, callback: Callback, task_of: Callable[[Event], Task], after: int) -> Remove:
        def handle(payload: Payload) -> None:
            event = Event.from_json(payload)
            if event.seq > after:
                _call(callback, task_of(event))

        return self._callbacks.subscribe(type, handle)

    def _as_started(self, event: Event) -> Task:
        """Return the task as it was when it started. It may have ended since."""
        task = self._task(event)
        attempt = event.data["attempt"]
        if task.status is TaskStatus.RUNNING and task.attempt == attempt:
            return task
        changes: dict[str, Any] = {"attempt": attempt, "started_at": event.at, "completed_at": None, **_NOT_ENDED}
        return replace(task, status=TaskStatus.RUNNING, **changes)

    def _as_ended(self, event: Event) -> Task:
        """Return the task as it was when it ended. It may have been retried since."""
        task = self._task(event)
        if task.status == event.data["status"] and task.completed_at == event.at:
            return task
        names = {"result": "result", "error": "error", "error_kind": "errorKind", "session_id": "sessionId"}
        changes = {attribute: event.data[name] for attribute, name in names.items()}
        status = TaskStatus(event.data["status"])
        return replace(task, status=status, completed_at=event.at, **changes, **_NOT_RUNNING)

    def _task(self, event: Event) -> Task:
        try:
            return self._queue.get(event.data["taskId"])
        except NotFound:  # it was deleted, so only the fields of the event are known
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
    except BaseException:  # even SystemExit must not end the event thread
        logging.getLogger("backburner").exception("a callback failed for task %s", task.id)
