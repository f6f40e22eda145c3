"""The line of `wait` on a terminal: elapsed time, counts, and an estimate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

from ....ipc import clock
from ....ipc.model.cause import outcome
from ....ipc.model.task import Task, TaskStatus
from ....ipc.model.wait import Wait
from ..context import Context
from ..tables import display_width, sanitize, terminal_width, truncate
from ..text import format_duration, short_id, title, waiting_reason
from .estimate import Estimate

#: Seconds between two pictures, and the least seconds between two pictures if much happens.
INTERVAL, SHORTEST = 1.0, 0.1

#: The number of columns if a terminal does not report it.
DEFAULT_WIDTH = 80


class NoDisplay:
    """Shows nothing, because stderr is no terminal."""

    #: Seconds after which `show` must be called again.
    interval = float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing."""

    def show(self, ended: Sequence[Task]) -> None:
        """Show the state of the wait. `ended` are the tasks that have ended since the last call."""

    def clear(self) -> None:
        """Make room for a message."""


class Display(NoDisplay):
    """One line on the terminal, which is replaced when something changes, and every second."""

    interval = INTERVAL

    def __init__(self, context: Context, wait: Wait) -> None:
        self._context, self._wait = context, wait
        self._estimate = Estimate(context, wait)
        self._started = clock.monotonic()
        self._shown_at = 0.0
        self._width = 0
        self._last = ""

    def __exit__(self, *exception: object) -> None:
        """Remove the line."""
        self.clear()

    def clear(self) -> None:
        """Remove the line until it is shown again."""
        self._write("")

    def show(self, ended: Sequence[Task]) -> None:
        """Show the state of the wait. `ended` are the tasks that have ended since the last call."""
        if ended:
            self._last = f"{short_id(ended[-1].id)} {sanitize(outcome(ended[-1]))}"
        now = clock.monotonic()
        if self._wait.is_over or (not ended and now < self._shown_at + SHORTEST):
            return
        self._shown_at = now
        width = (terminal_width(sys.stderr) or DEFAULT_WIDTH) - 1
        self._write(truncate(self._text(width), width))

    def _write(self, text: str) -> None:
        padding = " " * (self._width - display_width(text))
        back = "\r" if padding else ""
        sys.stderr.write(f"\r{text}{padding}{back}{text if back else ''}")
        sys.stderr.flush()
        self._width = display_width(text)

    def _text(self, width: int) -> str:
        """Return as many parts as fit, and at least the first three."""
        elapsed = _whole(clock.monotonic() - self._started)
        parts = self._parts()
        text = f"waiting {elapsed}: {', '.join(parts[:3])}"
        for part in parts[3:]:
            fitting = (
                form for form in (part, part.replace("about ", "~")) if display_width(f"{text}, {form}") <= width
            )
            if form := next(fitting, ""):
                text += f", {form}"
        return text

    def _parts(self) -> list[str]:
        left = self._estimate.remaining()
        estimate = [] if left is None else [f"about {_whole(max(1, left / 1000))} left"]
        if len(self._wait.ids) == 1:
            return self._one(estimate)
        ended = len(self._wait.ids) - len(self._wait.unfinished)
        running = sum(task.id in self._wait.unfinished for task in self._context.store.hosts.running())
        pending = len(self._wait.unfinished) - running
        counts = [f"{ended}/{len(self._wait.ids)} ended", f"{running} running", f"{pending} pending"]
        return [*counts, *estimate, *([self._last] if self._last else [])]

    def _one(self, estimate: Sequence[str]) -> list[str]:
        task = next(iter(self._context.queue.existing(self._wait.ids)), None)
        if task is None:
            return []
        reason = waiting_reason(task)
        state = f"{task.status} ({reason})" if task.status is TaskStatus.PENDING and reason else str(task.status)
        progress = [sanitize(task.progress)] if task.progress else []
        return [f"{short_id(task.id)} {state}", *estimate, *progress, sanitize(title(task))]


def _whole(seconds: float) -> str:
    """Return a duration without fractions of a second."""
    return f"{int(seconds)} s" if seconds < 60 else format_duration(seconds * 1000)


def display_of(context: Context, wait: Wait) -> NoDisplay:
    """Return a display on the terminal, or none if stderr is no terminal."""
    return Display(context, wait) if sys.stderr.isatty() else NoDisplay()
