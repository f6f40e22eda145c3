"""Tables of tasks: their columns, what a column shows of a task, and how tasks are sorted by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ....ipc import clock
from ....ipc.model.cause import attempts, cause, leftovers
from ....ipc.model.task import Task, TaskStatus
from ..tables import FIXED, Cell, Column, Look, display_width, status_cell, table_lines
from ..text import format_duration, local_time, short_id, title, waiting_reason

#: The room for ID, STATUS and NOTE on a terminal of 80 columns, whatever the length of a description.
BEFORE_TASK = 36
#: The place of the column PROJECT, behind ID and STATUS.
PROJECT_AT = 2

#: The shortest wait for a slot that a table shows, in milliseconds.
SHORTEST_WAIT = 1000


class Field(NamedTuple):
    """A column of a task: its form, its text, and the value by which tasks are sorted (None comes last)."""

    column: Column
    text: Callable[[Task], Cell | str]
    value: Callable[[Task], Any]


def elapsed(task: Task) -> float | None:
    """Return the milliseconds of the last attempt until now or its end, or None if there was none."""
    if task.started_at is None or task.status is TaskStatus.PENDING:
        return None
    return max(0.0, _now(task.completed_at) - _milliseconds(task.started_at))


def waited(task: Task) -> float | None:
    """Return the milliseconds from the launch to the first start or until now, or None if they are not known."""
    if task.attempt > 1 or (task.status.ended and task.started_at is None):
        return None
    if task.attempt == 1 and task.started_at is None:
        return None
    return max(0.0, _now(task.started_at) - _milliseconds(task.queued_at))


def remark(task: Task) -> str:
    """Return why a task failed, which processes were ended with it, or how far an unfinished one is."""
    if task.status.ended:
        failure = cause(task) if task.status is TaskStatus.ERROR else ""
        return "; ".join(filter(None, [failure, leftovers(task)]))
    return task.progress or (f"before: {cause(task)}" if task.attempt and cause(task) else "")


def _now(time: datetime | None) -> float:
    return clock.now() if time is None else _milliseconds(time)


def _milliseconds(time: datetime) -> float:
    return time.timestamp() * 1000


def _changed(task: Task) -> datetime:
    return task.completed_at or task.started_at or task.queued_at


def _time(value: Callable[[Task], datetime | None], head: str, rank: int) -> Field:
    def text(task: Task) -> str:
        time = value(task)
        return "" if time is None else local_time(time.timestamp())

    return Field(Column(head, FIXED, rank), text, value)


def _plain(column: Column, value: Callable[[Task], Any]) -> Field:
    def text(task: Task) -> str:
        found = value(task)
        return "" if found is None else str(found)

    return Field(column, text, value)


def _took(task: Task) -> str:
    took = elapsed(task)
    if took is None:
        return ""
    return format_duration(took) if task.status.ended else _whole_seconds(took)


def _waited(task: Task) -> str:
    milliseconds = waited(task) or 0
    return _whole_seconds(milliseconds) if milliseconds >= SHORTEST_WAIT else ""


def _whole_seconds(milliseconds: float) -> str:
    """Return a duration that ticks, without tenths."""
    seconds = int(milliseconds // 1000)
    return f"{seconds} s" if seconds < 60 else format_duration(seconds * 1000)


def _status(task: Task) -> Cell:
    return status_cell(task.status, "stopping" if task.stopping else None)


#: All columns. Those of the tables are the first ones, from ID to TASK.
FIELDS: Mapping[str, Field] = {
    "id": Field(Column("ID", FIXED), lambda task: short_id(task.id), lambda task: task.id),
    "status": Field(Column("STATUS", FIXED), _status, lambda task: [*TaskStatus].index(task.status)),
    "key": _plain(Column("KEY", 8, rank=4), lambda task: task.concurrency_key),
    "since": _time(_changed, "SINCE", rank=6),
    "took": Field(Column("TOOK", FIXED, rank=3), _took, elapsed),
    "waited": Field(Column("WAITED", FIXED, rank=7), _waited, waited),
    "try": _plain(Column("TRY", FIXED, rank=5), attempts),
    "waits": Field(Column("WAITS FOR", 12, rank=2), waiting_reason, waiting_reason),
    "note": Field(Column("NOTE", 12, rank=1), remark, remark),
    "task": Field(Column("TASK", wanted=0), title, title),
    "agent": _plain(Column("AGENT", 8, rank=8), lambda task: task.agent),
    "model": _plain(Column("MODEL", 8, rank=8), lambda task: task.model),
    "parent": _plain(Column("PARENT", 8, rank=8), lambda task: task.parent_session_id),
    "session": _plain(Column("SESSION", 8, rank=8), lambda task: task.session_id),
    "tags": _plain(Column("TAGS", 8, rank=8), lambda task: ",".join(task.tags) or None),
    "priority": _plain(Column("PRIORITY", FIXED, rank=8), lambda task: task.priority),
    "queued": _time(lambda task: task.queued_at, "QUEUED", rank=8),
    "started": _time(lambda task: task.started_at, "STARTED", rank=8),
    "ended": _time(lambda task: task.completed_at, "ENDED", rank=8),
    "exit-code": _plain(Column("EXIT CODE", FIXED, rank=8), lambda task: task.exit_code),
    "pid": _plain(Column("PID", FIXED, rank=8), lambda task: task.pid),
    "cwd": _plain(Column("CWD", 8, rank=8), lambda task: task.cwd),
}

#: The columns of a table, unless others are chosen.
DEFAULT = tuple(FIELDS)[: tuple(FIELDS).index("task") + 1]


def task_lines(
    tasks: Sequence[Task], names: Sequence[str] | None, look: Look, projects: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table with these columns, by default the usual ones that are not empty.

    On a narrow terminal, the usual columns WAITS FOR and NOTE become one. `projects` has the project of each task, for
    one more column.
    """
    fields = [FIELDS[name] for name in names or DEFAULT]
    columns = [_main(field.column, tasks, look.room) for field in fields]
    rows = [[field.text(task) for field in fields] for task in tasks]
    if names is not None:
        columns = [column._replace(keeps_empty=True, rank=0) for column in columns]
    elif look.room is not None and _is_crowded(rows, look.room):
        waits, note = DEFAULT.index("waits"), DEFAULT.index("note")
        rows = [[*row[:waits], "", _text(row[waits]) or row[note], *row[note + 1 :]] for row in rows]
    if projects:
        columns.insert(PROJECT_AT, Column("PROJECT", 12, rank=0))
        rows = [[*row[:PROJECT_AT], project, *row[PROJECT_AT:]] for row, project in zip(rows, projects, strict=True)]
    return table_lines(columns, rows, look)


def sort_tasks(tasks: Iterable[Task], names: Sequence[str]) -> list[Task]:
    """Return tasks sorted by these fields. A field with a leading `-` sorts downwards. Empty values come last."""
    found = list(tasks)
    for name in reversed(names):
        value = FIELDS[name.lstrip("-")].value
        full = [task for task in found if value(task) not in (None, "")]
        empty = [task for task in found if value(task) in (None, "")]
        found = [*sorted(full, key=value, reverse=name.startswith("-")), *empty]
    return found


def _text(cell: Cell | str) -> str:
    return cell.text if isinstance(cell, Cell) else cell


def _main(column: Column, tasks: Sequence[Task], room: int | None) -> Column:
    """Return the column TASK with the width of the longest description; commands and prompts may be cut before."""
    if column.wanted is None or room is None:
        return column
    named = max((display_width(task.description[:room]) for task in tasks if task.description), default=0)
    return column._replace(wanted=max(30, room * 2 // 5, min(named, room * 3 // 5, max(36, room - BEFORE_TASK))))


def _is_crowded(rows: Sequence[Sequence[Cell | str]], room: int) -> bool:
    """Return True if the columns are wider than the terminal."""
    columns = zip(*rows, strict=True)
    widths = [max((display_width(_text(cell)[:room]) for cell in column), default=0) for column in columns]
    return sum(width + 2 for width in widths if width) - 2 > room
