"""What a batch of notices is, when it is due, and how it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from ..clock import monotonic
from ..errors import InvalidInput
from .event import EventBus
from .task import Task, TaskStatus

SOURCE = "background-manager"

Clock = Callable[[], float]


@dataclass(frozen=True)
class NotificationConfig:
    """How long notices of one parent are gathered (milliseconds), and how many at most (at least 1)."""

    batch_window_ms: int = 1000
    max_batch_size: int = 5

    def __post_init__(self) -> None:
        """Refuse what could never be: raises InvalidInput."""
        if self.batch_window_ms < 0:
            raise InvalidInput("A batch window lasts 0 ms or longer.", field="batch_window_ms")
        if self.max_batch_size < 1:
            raise InvalidInput("A batch holds at least 1 task.", field="max_batch_size")


@dataclass(slots=True)
class _Window:
    """The ended tasks of one parent that are in no batch yet, and when their batch is due."""

    deadline: float
    count: int


class BatchWindow:
    """Decides when batches are due: as soon as one is full, or when its parent's window ends. Not thread-safe."""

    def __init__(self, config: NotificationConfig, clock: Clock) -> None:
        """Start without open windows; `clock` returns seconds and is never set back."""
        self._length, self._size, self._clock = config.batch_window_ms / 1000, config.max_batch_size, clock
        #: Ordered by deadline: all windows have the same length, and a new one goes to the end.
        self._windows: dict[str, _Window] = {}

    def add(self, parent: str, count: int = 1) -> int:
        """Count ended tasks of a parent; return how many of those that wait fill whole batches."""
        window = self._windows.get(parent)
        if window is None:
            window = self._windows[parent] = _Window(self._clock() + self._length, 0)
        window.count += count
        return window.count - window.count % self._size

    def remove(self, parent: str, count: int) -> None:
        """Stop counting tasks that are in a batch now; those that remain wait for a new window."""
        window = self._windows.pop(parent, None)
        if window is not None and window.count > count:
            self.add(parent, window.count - count)

    def restart(self, parent: str) -> None:
        """Give a parent a new window: its batch could not be formed."""
        self.remove(parent, 0)

    def close(self, parent: str) -> None:
        """Forget a parent: all of its ended tasks are in batches."""
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
        """Return the parents whose window has ended, and how many tasks of each wait."""
        now = self._clock()
        ended = takewhile(lambda item: item[1].deadline <= now, self._windows.items())
        return {parent: window.count for parent, window in ended}

    def waiting(self) -> dict[str, int]:
        """Return how many ended tasks of each parent wait for a batch."""
        return {parent: window.count for parent, window in self._windows.items()}


@dataclass
class _Parent:
    """The ended tasks of one parent that are in no batch yet, and its tasks that are known not to have ended."""

    waiting: list[Task] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)


class NotificationManager:
    """Collects ended tasks per parent and forms a batch whenever `BatchWindow` says that one is due.

    Without `clock` a thread of its own closes the windows. With one there is no thread: whoever owns the
    clock waits for `due()` seconds and calls `flush_due()`.
    """

    def __init__(
        self,
        config: NotificationConfig | None = None,
        event_bus: EventBus | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start with nothing waiting; `clock` gives seconds that never go back."""
        self._config = config or NotificationConfig()
        self._event_bus = event_bus or EventBus()
        self._clock = clock or monotonic
        self._driven = clock is not None
        self._window = BatchWindow(self._config, self._clock)
        self._parents: dict[str, _Parent] = {}
        self._changed = threading.Condition()
        self._timer: threading.Thread | None = None

    def get_event_bus(self) -> EventBus:
        """Where notices and batches are dispatched."""
        return self._event_bus

    def notify(self, task: Task) -> None:
        """Tell at once that a task ended, and queue it for its parent's next batch.

        A task that has not ended is only remembered: until it has, no batch of its parent is `allComplete`.
        """
        if task.status.ended:
            self._event_bus.dispatch("background_task_completed", _notice(task))
        if task.parent_session_id is not None and self._remember(task.parent_session_id, task):
            self.flush_parent(task.parent_session_id)

    def flush_parent(self, parent_session_id: str) -> None:
        """Form the batches of one parent now, whatever is left of its window."""
        while tasks := self._take(parent_session_id):
            self._announce(parent_session_id, tasks)

    def flush_all(self) -> None:
        """Form the batches of all parents now."""
        with self._changed:
            waiting = self._window.waiting()
        self._flush(waiting)

    def flush_due(self) -> None:
        """Form the batches of the parents whose window has ended."""
        with self._changed:
            ended = self._window.ended()
        self._flush(ended)

    def clear(self) -> None:
        """Forget all that waits, untold, and all that was known of tasks."""
        with self._changed:
            self._parents.clear()
            self._window.clear()
            self._changed.notify_all()

    def due(self) -> float | None:
        """Seconds until the next window ends, 0 if one has; None when nothing waits."""
        with self._changed:
            return self._window.due()

    def announce(self, parent: str, tasks: Sequence[Task]) -> None:
        """Form one batch. What raises here is not lost: the tasks wait for another window."""
        batch = batch_payload(parent, tasks, self._all_complete(parent))
        self._event_bus.dispatch("background_tasks_batch", batch)
        self._event_bus.dispatch("background_tasks_notification", _receipt(batch))

    def _remember(self, parent: str, task: Task) -> bool:
        """Queue an ended task, or note an unfinished one; return True if a batch is full."""
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
            self._timer = threading.Thread(target=self._keep_time, name="notifications", daemon=True)
            self._timer.start()

    def _take(self, parent: str) -> list[Task]:
        """The next batch's tasks, oldest first, which no longer wait then."""
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

    def _keep_time(self) -> None:
        """The life of the timer thread: it goes when nothing waits, and the next notice starts another."""
        while self._window_ended():
            try:
                self.flush_due()
            except Exception:
                import logging  # most never need it

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
    """A new NotificationManager."""
    return NotificationManager(config, event_bus, clock)


def batch_payload(parent: str, tasks: Sequence[Task], all_complete: bool) -> dict[str, Any]:
    """All that a batch tells, in the shape of the event `background_tasks_batch`."""
    totals = batch_totals([task.status for task in tasks], all_complete)
    return {"parentSessionId": parent, "tasks": [task.brief() for task in tasks], **totals}


def batch_totals(statuses: Sequence[str], all_complete: bool) -> dict[str, Any]:
    """What a batch tells of its tasks taken together, which ended so."""
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
    """A batch in a sentence: «5 background tasks finished: 4 completed, 1 failed.» The rest was cancelled."""
    subject = f"{count} background task{'' if count == 1 else 's'}"
    parts = {"completed": completed, "failed": failed, "cancelled": max(0, count - completed - failed)}
    said = [verb for verb, number in parts.items() if number]
    if len(said) > 1:
        return f"{subject} finished: {', '.join(f'{parts[verb]} {verb}' for verb in said)}."
    verb = said[0] if said else "completed"
    return f"{subject} {verb}{' successfully' if verb == 'completed' else ''}."


def _notice(task: Task) -> dict[str, Any]:
    return {
        "taskId": task.id,
        "sessionId": task.session_id,
        "parentSessionId": task.parent_session_id,
        "status": task.status,
        "result": task.result,
        "error": task.error,
        "errorKind": task.error_kind,
    }


def _receipt(batch: dict[str, Any]) -> dict[str, Any]:
    return {
        "parentSessionId": batch["parentSessionId"],
        "taskIds": [task["id"] for task in batch["tasks"]],
        "count": batch["count"],
        "completedCount": batch["completedCount"],
        "failedCount": batch["failedCount"],
        "source": SOURCE,
    }
