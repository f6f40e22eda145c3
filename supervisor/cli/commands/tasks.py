"""What there is: `status`, `list`, `show`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from ....ipc.model.task import Task, TaskStatus
from ..context import Desk
from ..options import example, id_argument, json_option, print_json, print_json_array, print_json_line, say, short
from ..tables import Cell, Row, fields, status_cell, table

#: Tasks that a list on a terminal shows, unless asked for more or fewer.
SHOWN = 100
#: Tasks that are read at a time.
PAGE = 1000
#: The shortest time between two pictures of `list --watch`, in seconds.
PICTURE = 0.1

_HEAD = ("ID", "STATUS", "KEY", "SINCE", "TOOK", "WAITS FOR", "NOTE", "TASK")
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@click.command("status", short_help="Who runs what.", epilog=example("status"))
@json_option
@click.pass_obj
def status_command(desk: Desk, as_json: bool = False) -> None:
    """Who runs what: the processes, and per limit group its limit and what runs and waits."""
    from ....ipc.store.status import blank, status

    found = status(desk.database, desk.config) if desk.exists else blank(desk.home)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(_status_text(found))


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
def list_command(desk: Desk, /, watch: bool, as_json: bool, **which: Any) -> None:
    """Tasks, the newest first, and what each that is pending waits for."""
    if watch:
        _watch(desk, as_json or not sys.stdout.isatty(), which)
    elif as_json:
        print_json_array(task.brief() for task in _listed(desk, which, which["limit"]))
    else:
        _print_list(desk, which)


@click.command("show", epilog=example("show 1a2b3c4d", "show --json -"))
@id_argument
@json_option
@click.pass_obj
def show_command(desk: Desk, id: str, as_json: bool) -> None:
    """Everything about one task. ID may be a part from its start, or - for the last one launched."""
    from ..text import hint

    task = desk.tasks.get(desk.find(id))
    if as_json:
        print_json(task.to_json())
        return
    pairs = ((name, _field(name, value)) for name, value in task.to_json().items() if value not in (None, [], {}))
    sys.stdout.write(fields(pairs, sys.stdout))
    if sys.stderr.isatty() and (why := hint(task, desk)):
        say(why)


def _status_text(found: dict[str, Any]) -> str:
    supervisor = found["supervisor"]
    runs = f"pid {supervisor['pid']}, since {supervisor['startedAt'] or '?'}" if supervisor else "none is running"
    others = {
        label: f"pid {found[role]['pid']}" if found[role] else "-"
        for role, label in {"flusher": "flusher", "forkServer": "fork server"}.items()
    }
    about = fields(
        [("home", found["home"]), ("supervisor", runs), *others.items(), ("socket", found["socket"])],
        sys.stdout,
    )
    keys = table(("KEY", "LIMIT", "RUNNING", "PENDING", ""), map(_key_row, found["keys"]), sys.stdout)
    workers = table(("WORKER", "KEY", "SLOT", "TASK", ""), map(_worker_row, found["workers"]), sys.stdout)
    tables = [text for rows, text in ((found["keys"], keys), (found["workers"], workers)) if rows]
    return "\n".join([about, *tables])


def _key_row(key: dict[str, Any]) -> Row:
    limit = str(key["limit"]) if key["limit"] else "unlimited"
    paused = Cell("paused", "33") if key["paused"] else ""
    return (key["key"], limit, str(key["running"]), str(key["pending"]), paused)


def _worker_row(worker: dict[str, Any]) -> Row:
    slot = "" if worker["slot"] is None else str(worker["slot"])
    task = short(worker["taskId"]) if worker["taskId"] else "idle"
    adopted = "adopted" if worker["adopted"] else ""
    return (str(worker["pid"]), worker["concurrencyKey"] or "", slot, task, adopted)


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
    from ..durations import spoken
    from ..text import hour, reason

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


def what(task: Task) -> str:
    """What a task is about, in a line."""
    if task.description:
        return task.description
    if task.command:
        return " ".join(task.command)
    return task.call or task.agent


def _field(name: str, value: Any) -> Cell | str:
    import json

    if name == "status":
        return status_cell(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
