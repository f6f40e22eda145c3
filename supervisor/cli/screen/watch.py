"""`list --watch`: a table of tasks that follows all changes and fits the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ....ipc import clock
from ....ipc.model.query import Filter
from ....ipc.model.task import Task, TaskStatus
from ..changes import ChangeWatch
from ..context import Context
from ..tables import FAINT, Cell, Look, display_width, paint, truncate, uses_colours
from ..text import local_time
from .live import LiveScreen
from .task_table import sort_tasks, task_lines

#: The interval of redraws without a change, in seconds: the elapsed times tick.
TICK = 1.0
#: The minimum number of seconds between two redraws, and the same as a multiple of the time that a redraw takes.
REDRAW_INTERVAL, REST_FACTOR = 0.1, 9
#: The lines above the tasks: the summary and the head of the table.
HEAD_LINES = 2
#: The part of the lines that ended tasks get if many tasks wait.
ENDED_PART = 4


class Choice(NamedTuple):
    """Which tasks are shown, in which columns (None: the usual ones), and by which fields they are sorted."""

    which: Filter
    columns: Sequence[str] | None
    sort: Sequence[str]


class _Picture(NamedTuple):
    tasks: list[Task]
    counts: Mapping[TaskStatus, int]


def watch_tasks(context: Context, choice: Choice) -> None:
    """Show the tasks until Ctrl-C or `q`."""
    import sys

    colours = uses_colours(sys.stdout)
    with ChangeWatch(context) as watch, LiveScreen() as screen:
        picture, is_new = None, True
        while not screen.closed:
            began = clock.monotonic()
            if is_new or picture is None:
                picture = _read(context, choice, _height(choice, screen))
            screen.draw(_lines(picture, choice, Look(screen.size.columns, colours), screen.size.lines))
            rest = max(REDRAW_INTERVAL, REST_FACTOR * (clock.monotonic() - began))
            quiet = _Quiet(watch, rest)
            screen.wait(quiet.wait, TICK)
            is_new = quiet.has_changed


def _height(choice: Choice, screen: LiveScreen) -> int:
    """Return the number of lines for tasks."""
    height = max(1, screen.size.lines - HEAD_LINES)
    return height if choice.which.limit is None else min(height, choice.which.limit)


class _Quiet:
    """A wait for the next redraw. `has_changed` is true unless it ended because nothing happened for its time."""

    def __init__(self, watch: ChangeWatch, rest: float) -> None:
        self._watch, self._rest = watch, rest
        self.has_changed = True

    def wait(self, seconds: float) -> None:
        """Rest, then wait until something changes, but not longer than this."""
        clock.nap(self._rest)
        self.has_changed = self._watch.wait(max(0.0, seconds - self._rest))


def _read(context: Context, choice: Choice, height: int) -> _Picture:
    """Return the tasks that fit: the running ones first, then pending ones and some of those that ended last."""
    tasks = context.tasks
    counts = tasks.counts(choice.which)
    if sum(counts.values()) > height > 1:
        height -= 1  # for the number of tasks that do not fit
    shown = choice.which._replace(limit=height)
    if choice.sort:
        found = sort_tasks(tasks.in_order(choice.which._replace(limit=None)), choice.sort)
        return _Picture(found[:height], counts)
    unfinished, ended = (list(tasks.in_order(part)) for part in _parts(shown))
    ended_lines = min(len(ended), max(height - len(unfinished), height // ENDED_PART))
    return _Picture([*unfinished[: height - ended_lines], *ended[:ended_lines]], counts)


def _parts(which: Filter) -> tuple[Filter, Filter]:
    """Return the filter for unfinished tasks, and for ended ones. A filter for nothing has the limit 0."""
    wanted = which.statuses or tuple(TaskStatus)
    parts = [[status for status in wanted if status.ended is is_ended] for is_ended in (False, True)]
    unfinished, ended = (which._replace(statuses=part, limit=which.limit if part else 0) for part in parts)
    return unfinished, ended


def _lines(picture: _Picture, choice: Choice, look: Look, height: int) -> list[str]:
    table = task_lines(picture.tasks, choice.columns, look)
    more = sum(picture.counts.values()) - len(picture.tasks)
    rest = [paint(Cell(f"… {more} more", FAINT), look.colours)] if more > 0 else []
    return [_summary(picture.counts, look), *table[: height - 1 - len(rest)], *rest]


def _summary(counts: Mapping[TaskStatus, int], look: Look) -> str:
    """Return the numbers of tasks at the left, and the time at the right."""
    words = {status: "failed" if status is TaskStatus.ERROR else status.value for status in TaskStatus}
    order = (TaskStatus.RUNNING, *(status for status in TaskStatus if status is not TaskStatus.RUNNING))
    named = [f"{counts[status]} {words[status]}" for status in order if counts[status] or not status.ended]
    updated = f"updated at {local_time(clock.now() / 1000)}"
    room = (look.room or 0) - display_width(updated) - 2
    numbers = truncate(", ".join(named), max(1, room))
    return f"{numbers}{' ' * (room - display_width(numbers))}  {updated}" if room > 0 else truncate(updated, look.room)
