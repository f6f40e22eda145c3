"""Batches of ended tasks: their windows, their content and their messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from ..clock import monotonic
from ..errors import InvalidInput
from .event import BATCH, ENDED, EventBus
from .task import Task, TaskStatus

SOURCE = "background-manager"

Clock = Callable[[], float]


@dataclass(frozen=True)
class NotificationConfig:
    """The window of a batch in milliseconds, and the maximum number of its tasks (at least 1)."""

    batch_window_ms: int = 1000
    max_batch_size: int = 5

    def __post_init__(self) -> None:
        """Raise InvalidInput for a value that is out of range."""
        if self.batch_window_ms < 0:
            raise InvalidInput("A batch window lasts 0 ms or longer.", field="batch_window_ms")
        if self.max_batch_size < 1:
            raise InvalidInput("A batch holds at least 1 task.", field="max_batch_size")


@dataclass(slots=True)
class _Window:
    """The number of ended tasks of one parent that are not in a batch yet, and the time when their batch is due."""

    deadline: float
    count: int


class BatchWindow:
    """Decides when batches are due: when they are full, or when the window of their parent ends. Not thread-safe."""

    def __init__(self, config: NotificationConfig, clock: Clock) -> None:
        """Start without open windows. `clock` returns seconds that never go back."""
        self._length, self._size, self._clock = config.batch_window_ms / 1000, config.max_batch_size, clock
        #: Ordered by deadline, since all windows have the same length and a new window is added at the end.
        self._windows: dict[str, _Window] = {}

    def add(self, parent: str, count: int = 1) -> int:
        """Add ended tasks of a parent. Return the number of waiting tasks that fill whole batches."""
        window = self._windows.get(parent)
        if window is None:
            window = self._windows[parent] = _Window(self._clock() + self._length, 0)
        window.count += count
        return window.count - window.count % self._size

    def remove(self, parent: str, count: int) -> None:
        """Remove tasks that are in a batch now. The rest waits for a new window."""
        window = self._windows.pop(parent, None)
        if window is not None and window.count > count:
            self.add(parent, window.count - count)

    def restart(self, parent: str) -> None:
        """Give a parent a new window, because its batch could not be formed."""
        self.remove(parent, 0)

    def close(self, parent: str) -> None:
        """Forget a parent, because all of its ended tasks are in batches."""
        self._windows.pop(parent, None)

    def clear(self) -> None:
        """Forget all parents."""
        self._windows.clear()

    def due(self) -> float | None:
        """Return the seconds until the next window ends, 0 if one has, or None if no task waits."""
        for window in self._windows.values():
            return max(0.0, window.deadline - self._clock())
        return None

    def ended(self) -> dict[str, int]:
        """Return the parents with an ended window, each with the number of its waiting tasks."""
        now = self._clock()
        ended = takewhile(lambda item: item[1].deadline <= now, self._windows.items())
        return {parent: window.count for parent, window in ended}

    def waiting(self) -> dict[str, int]:
        """Return the number of waiting tasks of each parent."""
        return {parent: window.count for parent, window in self._windows.items()}


@dataclass
class _Parent:
    """The ended tasks of one parent that are not in a batch yet, and the IDs of its unfinished tasks."""

    waiting: list[Task] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)


class NotificationManager:
    """Collects ended tasks per parent and forms the batches that are due by `BatchWindow`.

    Without `clock`, the manager closes the windows on its own thread. With a clock it starts no thread. Then the caller
    has to wait for `due()` seconds and call `flush_due()`.
    """

    def __init__(
        self,
        config: NotificationConfig | None = None,
        event_bus: EventBus | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start without waiting tasks. `clock` returns seconds that never go back."""
        self._config = config or NotificationConfig()
        self._event_bus = event_bus or EventBus()
        self._clock = clock or monotonic
        self._driven = clock is not None
        self._window = BatchWindow(self._config, self._clock)
        self._parents: dict[str, _Parent] = {}
        self._changed = threading.Condition()
        self._timer: threading.Thread | None = None

    def get_event_bus(self) -> EventBus:
        """Return the bus on which events and batches are dispatched."""
        return self._event_bus

    def notify(self, task: Task) -> None:
        """Dispatch the end of a task at once, and queue the task for the next batch of its parent.

        A task that has not ended is only remembered. Until it ends, no batch of its parent is `allComplete`.
        """
        if task.status.ended:
            self._event_bus.dispatch(ENDED, _completed_payload(task))
        if task.parent_session_id is not None and self._remember(task.parent_session_id, task):
            self.flush_parent(task.parent_session_id)

    def flush_parent(self, parent_session_id: str) -> None:
        """Form the batches of one parent now, before its window ends."""
        while tasks := self._take(parent_session_id):
            self._announce(parent_session_id, tasks)

    def flush_all(self) -> None:
        """Form the batches of all parents now."""
        with self._changed:
            waiting = self._window.waiting()
        self._flush(waiting)

    def flush_due(self) -> None:
        """Form the batches of all parents with an ended window."""
        with self._changed:
            ended = self._window.ended()
        self._flush(ended)

    def clear(self) -> None:
        """Forget all tasks. Tasks that wait for a batch are not dispatched."""
        with self._changed:
            self._parents.clear()
            self._window.clear()
            self._changed.notify_all()

    def due(self) -> float | None:
        """Return the seconds until the next window ends, 0 if one has, or None if no task waits."""
        with self._changed:
            return self._window.due()

    def announce(self, parent: str, tasks: Sequence[Task]) -> None:
        """Form and dispatch one batch. If this raises an exception, the tasks wait for another window."""
        batch = batch_payload(parent, tasks, self._all_complete(parent))
        self._event_bus.dispatch(BATCH, batch)
        self._event_bus.dispatch("background_tasks_notification", _notification_payload(batch))

    def _remember(self, parent: str, task: Task) -> bool:
        """Queue an ended task, or remember an unfinished one. Return True if a batch is full."""
        with self._changed:
            known = self._parents.setdefault(parent, _Parent())
            if not task.status.ended:
                known.unfinished.add(task.id)
                return False
            known.unfinished.discard(task.id)
            known.waiting.append(task)
            full = self._window.add(parent)
            self._start_timer()
            return full > 0

    def _start_timer(self) -> None:
        if self._timer is None and not self._driven:
            self._timer = threading.Thread(target=self._close_windows, name="notifications", daemon=True)
            self._timer.start()

    def _take(self, parent: str) -> list[Task]:
        """Remove the tasks of the next batch from the waiting tasks. Return them, oldest first."""
        with self._changed:
            known = self._parents.get(parent, _Parent())
            tasks = known.waiting[: self._config.max_batch_size]
            del known.waiting[: len(tasks)]
            self._window.remove(parent, len(tasks))
            if not known.waiting and not known.unfinished:
                self._parents.pop(parent, None)
            self._changed.notify_all()
            return tasks

    def _announce(self, parent: str, tasks: list[Task]) -> None:
        try:
            self.announce(parent, tasks)
        except BaseException:
            with self._changed:
                known = self._parents.setdefault(parent, _Parent())
                known.waiting[:0] = tasks
                self._window.add(parent, len(tasks))
                self._window.restart(parent)
                self._start_timer()
            raise

    def _flush(self, parents: Iterable[str]) -> None:
        for parent in parents:
            self.flush_parent(parent)

    def _all_complete(self, parent: str) -> bool:
        with self._changed:
            known = self._parents.get(parent, _Parent())
            return not known.waiting and not known.unfinished

    def _close_windows(self) -> None:
        """Run the timer thread. It exits when no task waits, and the next one starts another thread."""
        while self._window_ended():
            try:
                self.flush_due()
            except Exception:
                import logging  # not needed unless a batch fails

                logging.getLogger("backburner").exception("a batch could not be announced")

    def _window_ended(self) -> bool:
        with self._changed:
            while rest := self._window.due():
                self._changed.wait(rest)
            if rest is None:
                self._timer = None
            return rest is not None


def create_notification_manager(
    config: NotificationConfig | None = None,
    event_bus: EventBus | None = None,
    clock: Clock | None = None,
) -> NotificationManager:
    """Return a new NotificationManager."""
    return NotificationManager(config, event_bus, clock)


def batch_payload(parent: str, tasks: Sequence[Task], all_complete: bool) -> dict[str, Any]:
    """Return a batch in the shape of the event `background_tasks_batch`."""
    totals = batch_totals([task.status for task in tasks], all_complete)
    return {"parentSessionId": parent, "tasks": [task.brief() for task in tasks], **totals}


def batch_totals(statuses: Sequence[str], all_complete: bool) -> dict[str, Any]:
    """Return the counts and the message of a batch of tasks with these statuses."""
    completed, failed, cancelled = map(statuses.count, (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED))
    return {
        "count": len(statuses),
        "completedCount": completed,
        "failedCount": failed,
        "cancelledCount": cancelled,
        "allComplete": all_complete,
        "message": format_batch_notification(len(statuses), completed, failed),
    }


def format_batch_notification(count: int, completed: int, failed: int) -> str:
    """Return the message of a batch, such as «5 background tasks finished: 4 completed, 1 failed.»

    Tasks that neither completed nor failed were cancelled.
    """
    subject = f"{count} background task{'' if count == 1 else 's'}"
    parts = {"completed": completed, "failed": failed, "cancelled": max(0, count - completed - failed)}
    verbs = [verb for verb, number in parts.items() if number]
    if len(verbs) > 1:
        return f"{subject} finished: {', '.join(f'{parts[verb]} {verb}' for verb in verbs)}."
    verb = verbs[0] if verbs else "completed"
    return f"{subject} {verb}{' successfully' if verb == 'completed' else ''}."


def _completed_payload(task: Task) -> dict[str, Any]:
    return {
        "taskId": task.id,
        "sessionId": task.session_id,
        "parentSessionId": task.parent_session_id,
        "status": task.status,
        "result": task.result,
        "error": task.error,
        "errorKind": task.error_kind,
    }


def _notification_payload(batch: dict[str, Any]) -> dict[str, Any]:
    return {
        "parentSessionId": batch["parentSessionId"],
        "taskIds": [task["id"] for task in batch["tasks"]],
        "count": batch["count"],
        "completedCount": batch["completedCount"],
        "failedCount": batch["failedCount"],
        "source": SOURCE,
    }
