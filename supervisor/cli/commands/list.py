"""`list`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from ....ipc.model.task import Task, TaskStatus
from ..context import Desk
from ..options import example, json_option
from ..printing import print_json_array, print_json_line, say
from ..tables import Row, status_cell, table
from ..text import short, what

#: Tasks that a list on a terminal shows, unless asked for more or fewer.
SHOWN = 100


#: Tasks that are read at a time.
PAGE = 1000


#: The shortest time between two pictures of `list --watch`, in seconds.
PICTURE = 0.1


_HEAD = ("ID", "STATUS", "KEY", "SINCE", "TOOK", "WAITS FOR", "NOTE", "TASK")


_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@click.command("list", short_help="Tasks, the newest first.", epilog=example("list --status running", "list --watch"))
@click.option(
    "--status",
    type=click.Choice([status.value for status in TaskStatus]),
    help="Only tasks with this status.",
)
@click.option("--parent", metavar="P", help="Only the tasks of this parent.")
@click.option("--model", help="Only the tasks of this model.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help=f"At most N tasks, 0 for all. [default: {SHOWN} on a terminal, else all]",
)
@click.option("--watch", is_flag=True, help="Draw the list again whenever something happens.")
@json_option
@click.pass_obj
def command(desk: Desk, /, watch: bool, as_json: bool, **which: Any) -> None:
    """Tasks, the newest first, and what each that is pending waits for."""
    if watch:
        _watch(desk, as_json or not sys.stdout.isatty(), which)
    elif as_json:
        print_json_array(task.brief() for task in _listed(desk, which, which["limit"]))
    else:
        _print_list(desk, which)


def _listed(desk: Desk, which: dict[str, Any], limit: int | None) -> Iterator[Task]:
    """The tasks that are asked for, a page at a time: a list may be longer than the memory."""
    from ....ipc.store.tasks import Filter

    if not desk.exists:
        return
    tasks, left, cursor = desk.tasks, limit or None, None
    status = TaskStatus(which["status"]) if which["status"] else None
    while True:
        most = PAGE if left is None else min(PAGE, left)
        page = tasks.list(Filter(status, which["parent"], which["model"], most, cursor))
        yield from page.tasks
        cursor, left = page.next, None if left is None else left - len(page.tasks)
        if cursor is None or left == 0:
            return


def _print_list(desk: Desk, which: dict[str, Any]) -> None:
    shown = SHOWN if sys.stdout.isatty() else None
    limit = shown if which["limit"] is None else which["limit"] or None
    found = list(_listed(desk, which, None if limit is None else limit + 1))
    if found:
        sys.stdout.write(table(_HEAD, map(_row, found[:limit]), sys.stdout))
    elif sys.stderr.isatty():
        say(f"there are no such tasks in {desk.home.folder}")
    if limit is not None and len(found) > limit and which["limit"] is None:
        say(f"these are the newest {limit}; all of them: backburner list --limit 0")


def _row(task: Task) -> Row:
    from ..text import hour, reason, spoken

    ended = task.completed_at
    since = ended or task.started_at or task.queued_at
    took = (ended - task.started_at).total_seconds() * 1000 if ended and task.started_at else None
    stopping = "stopping" if task.stopping else None
    return (
        short(task.id),
        status_cell(task.status, stopping),
        task.concurrency_key,
        hour(since.timestamp()),
        "" if took is None else spoken(took),
        reason(task),
        _note(task),
        what(task),
    )


def _note(task: Task) -> str:
    if task.status is TaskStatus.ERROR:
        return f"exit code {task.exit_code}" if task.error_kind == "exit" else task.error_kind or ""
    return "" if task.status.ended else task.progress or ""


def _watch(desk: Desk, as_lines: bool, which: dict[str, Any]) -> None:
    from ....ipc import clock
    from ..changes import Watch

    with Watch(desk) as watch:
        while True:
            if as_lines:
                print_json_line([task.brief() for task in _listed(desk, which, which["limit"])])
            else:
                sys.stdout.write(_CLEAR)
                _print_list(desk, which)
                sys.stdout.flush()
            clock.nap(PICTURE)
            watch.rest()
