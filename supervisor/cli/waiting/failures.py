"""List the tasks that failed, with their causes and their last lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from ....ipc.errors import NotFound
from ....ipc.model.cause import outcome
from ....ipc.model.task import Task, TaskStatus
from ....ipc.text.screen import last_line
from ..context import Context
from ..tables import sanitize, terminal_width, truncate
from ..text import count_of, short_id, title

#: The maximum number of tasks that are listed.
LIMIT = 20

#: The number of bytes in which the last line is looked for.
TAIL = 4096

_INDENT = " " * 10


def print_failures(context: Context, tasks: Sequence[Task]) -> None:
    """Print the tasks that did not complete on stderr. The last line of a failed task follows it."""
    failed = [task for task in tasks if task.status is not TaskStatus.COMPLETED]
    width = terminal_width(sys.stderr)
    for task in failed[:LIMIT]:
        for line in _lines(context, task):
            print(truncate(line, width), file=sys.stderr)
    if len(failed) > LIMIT:
        print(f"and {count_of(len(failed) - LIMIT, 'more task')}: backburner list --status failed", file=sys.stderr)


def _lines(context: Context, task: Task) -> Iterator[str]:
    yield f"{short_id(task.id)}  {sanitize(outcome(task))}  {sanitize(title(task))}"
    line = last_line_of(context, task) if task.status is TaskStatus.ERROR else ""
    if line and line not in outcome(task):
        yield _INDENT + line


def last_line_of(context: Context, task: Task) -> str:
    """Return the last line that a task wrote to stderr, or else to stdout, or an empty string."""
    for stream in ("stderr", "stdout"):
        try:
            data = context.queue.tail(task.id, stream, TAIL)
        except NotFound:  # it was deleted just now
            return ""
        if line := last_line(data.decode(errors="replace")):
            return line
    return ""
