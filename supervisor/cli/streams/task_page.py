"""One task on a page: what a person asks first, in local times, with the end of its output."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from ....ipc import clock
from ....ipc.model.cause import attempts, cause, leftovers
from ....ipc.model.task import Task, TaskStatus, command_line
from ....ipc.text.durations import format_duration, format_setting
from ....ipc.text.screen import MAX_TEXT, screen_lines
from ..context import Context
from ..tables import FAINT, Cell, format_fields, paint, status_cell, terminal_width, truncate, uses_colours
from ..text import count_of, explain_pending, local_time, short_id, title
from .sinks import Descriptor
from .view import readable

if TYPE_CHECKING:
    from ....ipc.store.tasks import Stream

#: The maximum number of lines of a value, and of the end of an output.
MAX_VALUE_LINES, MAX_OUTPUT_LINES = 4, 5
#: The maximum number of characters of such a line.
MAX_LINE = 500
#: The width of the names of fields, so that the pages of several tasks are aligned.
NAME_WIDTH = 15
#: The number of bytes of an output in which its last lines are searched.
END_SIZE = 16 * 1024

Field = tuple[str, Cell | str]


def task_page(context: Context, task: Task, stream: TextIO) -> str:
    """Return the fields of a task that have a value, and the last lines of its output."""
    fields = [(name.ljust(NAME_WIDTH), value) for name, value in _fields(context, task) if _text_of(value)]
    return format_fields(fields, stream) + "".join(_ends(context, task, stream))


def _text_of(value: Cell | str) -> str:
    return value.text if isinstance(value, Cell) else value


def _fields(context: Context, task: Task) -> Iterator[Field]:
    yield "id", task.id
    yield "task", _cut(title(task), task)
    yield "status", _status(task)
    yield "error", _cut(task.error or "", task)
    if _has_answer(task):
        yield "result", _cut(task.result or "", task)
    yield "waits for", _waits_for(context, task)
    yield "progress", _cut(task.progress or "", task)
    yield "attempt", attempts(task).replace("/", " of ")
    yield from _times(task)
    yield from _work(task)
    yield from _settings(task)
    yield "left behind", leftovers(task)
    for name in ("stdout", "stderr"):
        yield name, _place(context, task, name)


def _has_answer(task: Task) -> bool:
    """Return True if the result is not the same text as the output."""
    return bool(task.result) and task.agent != "command"


def _status(task: Task) -> Cell:
    """Return the status, with the cause unless the error repeats it."""
    why = cause(task)
    text = f"{task.status} ({why})" if why and not (task.error or "").startswith(why) else str(task.status)
    if task.stopping:
        text += " (stopping)"
    return status_cell(task.status, text)


def _waits_for(context: Context, task: Task) -> str:
    reason = explain_pending(task, context) or ""
    return reason.partition(": ")[2] or (task.waiting_for or "")


def _times(task: Task) -> Iterator[Field]:
    yield "queued", _local(task.queued_at)
    if task.started_at is not None:
        waited = _between(task.queued_at, task.started_at)
        yield "started", f"{_local(task.started_at)}, after {format_duration(waited)}"
    if task.completed_at is not None:
        took = f", took {format_duration(_between(task.started_at, task.completed_at))}" if task.started_at else ""
        yield "ended", _local(task.completed_at) + took
    elif task.started_at is not None and task.status is TaskStatus.RUNNING:
        yield "running for", format_duration(max(0.0, clock.now() - task.started_at.timestamp() * 1000))
    yield "timeout", format_setting(task.timeout_ms) if task.timeout_ms else ""


def _work(task: Task) -> Iterator[Field]:
    """Yield what the task runs, as far as its title does not have it."""
    if task.description and task.command:
        yield "command", _cut(command_line(task.command), task)
    if task.description and task.call:
        yield "call", task.call
    yield "args", _as_json(task.args, task)
    yield "kwargs", _as_json(task.kwargs, task)
    yield "prompt", _cut(task.prompt or "", task)
    yield "folder", task.cwd


def _settings(task: Task) -> Iterator[Field]:
    yield "agent", task.agent if task.agent != "command" else ""
    yield "model", task.model or ""
    yield "key", task.concurrency_key
    yield "session", task.session_id or ""
    yield "parent", task.parent_session_id or ""
    yield "tags", ", ".join(task.tags)
    yield "priority", str(task.priority) if task.priority else ""
    yield "unique", task.unique_key or ""
    yield "after", ", ".join(map(short_id, task.after))
    yield "resumes", task.resumes or ""
    yield "pid", str(task.pid or "")
    yield "metadata", _as_json(task.metadata, task)


def _as_json(value: object, task: Task) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return _cut(json.dumps(plain, ensure_ascii=False), task) if value else ""


def _cut(text: str, task: Task) -> str:
    """Return the first lines of a text, and the way to the rest."""
    lines = screen_lines(text[:MAX_TEXT])
    if len(lines) <= MAX_VALUE_LINES and all(len(line) <= MAX_LINE for line in lines):
        return "\n".join(lines)
    shown = [truncate(line, MAX_LINE) for line in lines[: MAX_VALUE_LINES - 1]]
    return "\n".join([*shown, f"… (all of it: backburner show --json {short_id(task.id)})"])


def _local(time: datetime) -> str:
    return local_time(time.timestamp())


def _between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds() * 1000)


def _place(context: Context, task: Task, stream: Stream) -> str:
    """Return the path of an output file, or the command for an output in the database."""
    claim = context.tasks.claim_of(task.id)
    if claim is None:
        return ""
    path = context.home.output(claim, stream)
    size = context.tasks.output(task.id, stream, 0, 1).size
    if os.path.exists(path):
        return str(path)
    return f"{count_of(size, 'byte')}: backburner output --{stream} {short_id(task.id)}" if size else ""


def _ends(context: Context, task: Task, stream: TextIO) -> Iterator[str]:
    """Yield the last lines of each stream under a heading."""
    width, colours = terminal_width(stream), uses_colours(stream)
    for name in ("stdout", "stderr"):
        lines = [] if name == "stdout" and _has_answer(task) else _last_lines(context, task, name)
        if lines:
            yield paint(Cell(f"last lines of {name}:", FAINT), colours) + "\n"
            yield from (f"  {truncate(line, None if width is None else width - 2)}\n" for line in _limited(lines))


def _last_lines(context: Context, task: Task, stream: Stream) -> Sequence[str]:
    size = context.tasks.output(task.id, stream, 0, 1).size
    start = max(0, size - END_SIZE)
    data = context.tasks.output(task.id, stream, start, END_SIZE).data
    if start and b"\n" in data:
        data = data.partition(b"\n")[2]
    if stream == "stdout":
        data = _readable(context, task, data)
    return screen_lines(data.decode(errors="replace"))[-MAX_OUTPUT_LINES:]


def _readable(context: Context, task: Task, data: bytes) -> bytes:
    """Return the output of an agent as lines for people."""
    file = io.BytesIO()
    sink = readable(context, task, Descriptor(file))
    sink.write(data)
    sink.finish()
    return file.getvalue()


def _limited(lines: Iterable[str]) -> Iterator[str]:
    return (truncate(line, MAX_LINE) for line in lines)
