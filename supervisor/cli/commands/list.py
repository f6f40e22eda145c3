"""`list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from ..input.duration import WholeNumber
from ..options import example, json_option
from ..printing import note, print_json_array, print_json_line
from ..tables import Row, format_table, status_cell
from ..text import short_id, title

#: The number of tasks shown on a terminal by default.
SHOWN = 100
#: The number of tasks read at a time.
PAGE = 1000
#: The minimum number of seconds between two redraws of `list --watch`.
REDRAW_INTERVAL = 0.1

_HEAD = ("ID", "STATUS", "KEY", "SINCE", "TOOK", "WAITS FOR", "NOTE", "TASK")
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@click.command("list", epilog=example("list --status running", "list --watch"))
@click.option(
    "--status",
    type=click.Choice([status.value for status in TaskStatus]),
    metavar="STATUS",
    help="Show only tasks with this status: pending, running, completed, error or cancelled.",
)
@click.option("--parent", metavar="SESSION", help="Show only tasks of this session.")
@click.option("--model", metavar="NAME", help="Show only tasks of this model.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Show only tasks with this tag. Repeatable.")
@click.option(
    "--limit",
    type=WholeNumber(0),
    metavar="N",
    help=f"Show at most N tasks; 0 shows all. [default: {SHOWN} on a terminal, else all]",
)
@click.option("--watch", is_flag=True, help="Redraw the list whenever something changes, until Ctrl-C.")
@json_option
@click.pass_obj
def command(context: Context, /, watch: bool, as_json: bool, **filters: Any) -> None:
    """List tasks, the newest first.

    The column WAITS FOR gives the reason why a task is pending.
    """
    if watch:
        _watch(context, as_json or not sys.stdout.isatty(), filters)
    elif as_json:
        print_json_array(task.brief() for task in _tasks(context, filters, filters["limit"]))
    else:
        _print_table(context, filters)


def _tasks(context: Context, filters: dict[str, Any], limit: int | None) -> Iterator[Task]:
    """Yield the selected tasks, selection are read in pages, because a list may be larger than the memory."""
    from ....ipc.model.query import Filter

    if not context.has_database:
        return
    remaining, cursor = limit or None, None
    status = [TaskStatus(filters["status"])] if filters["status"] else []
    while True:
        size = PAGE if remaining is None else min(PAGE, remaining)
        selection = Filter(status, filters["parent"], filters["model"], size, cursor, tags=filters["tags"])
        page = context.tasks.list(selection)
        yield from page.tasks
        cursor, remaining = page.next, None if remaining is None else remaining - len(page.tasks)
        if cursor is None or remaining == 0:
            return


def _print_table(context: Context, filters: dict[str, Any]) -> None:
    default = SHOWN if sys.stdout.isatty() else None
    limit = default if filters["limit"] is None else filters["limit"] or None
    tasks = list(_tasks(context, filters, None if limit is None else limit + 1))
    if tasks:
        sys.stdout.write(format_table(_HEAD, map(_row, tasks[:limit]), sys.stdout))
    elif sys.stderr.isatty():
        note(f"no such tasks in {context.home.folder}")
    if limit is not None and len(tasks) > limit and filters["limit"] is None:
        note(f"only the newest {limit} tasks are shown; to show all: backburner list --limit 0")


def _row(task: Task) -> Row:
    from ..text import format_duration, local_time, waiting_reason

    ended = task.completed_at
    since = ended or task.started_at or task.queued_at
    took = (ended - task.started_at).total_seconds() * 1000 if ended and task.started_at else None
    stopping = "stopping" if task.stopping else None
    return (
        short_id(task.id),
        status_cell(task.status, stopping),
        task.concurrency_key,
        local_time(since.timestamp()),
        "" if took is None else format_duration(took),
        waiting_reason(task),
        _note(task),
        title(task),
    )


def _note(task: Task) -> str:
    if task.status is TaskStatus.ERROR:
        return f"exit code {task.exit_code}" if task.error_kind == "exit" else task.error_kind or ""
    return "" if task.status.ended else task.progress or ""


def _watch(context: Context, as_json: bool, filters: dict[str, Any]) -> None:
    from ....ipc import clock
    from ..changes import ChangeWatch

    with ChangeWatch(context) as watch:
        while True:
            if as_json:
                print_json_line([task.brief() for task in _tasks(context, filters, filters["limit"])])
            else:
                sys.stdout.write(_CLEAR)
                _print_table(context, filters)
                sys.stdout.flush()
            clock.nap(REDRAW_INTERVAL)
            watch.wait()
