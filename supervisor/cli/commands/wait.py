"""`wait`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import click

from ....ipc.model.task import Task, TaskStatus
from ....ipc.model.wait import Wait
from ..changes import wait_until
from ..context import Context
from ..input.duration import DURATION
from ..options import example, ids_argument, json_option
from ..printing import note, print_json
from ..text import count_of, format_duration, short_id
from ..waiting.absence import HELP, INTERVAL, Absence

TIMED_OUT = 124

#: The maximum number of tasks that are examined for the need of a supervisor.
SAMPLE = 1000


@click.command("wait", epilog=example("wait 1a2b3c4d 5e6f7a8b", "wait --parent ses-1 --timeout 10m"))
@ids_argument
@click.option("--parent", metavar="SESSION", help="Wait for all unfinished tasks of this session.")
@click.option("--any", "any_one", is_flag=True, help="Return when one of the tasks has ended.")
@click.option(
    "--timeout",
    type=DURATION,
    metavar="DURATION",
    help="Exit with 124 if the tasks have not ended after this time (90s, 1h30m). [default: no timeout]",
)
@click.option("--wait-for-supervisor", is_flag=True, help=f"{HELP} With --timeout, that is the limit.")
@json_option
@click.pass_obj
def command(context: Context, /, *, ids: Sequence[str], parent: str | None, as_json: bool, **options: Any) -> int:
    """Wait until tasks have ended.

    Waits for the named tasks, the unfinished tasks of a session, or all unfinished tasks. Exits with 1 if any of them
    failed or was cancelled.
    """
    if not context.has_database and not ids:
        return _report([], False, as_json)
    timeout: int | None = options["timeout"]
    wait = Wait(_selected(context, ids, parent), any=options["any_one"])
    ended = context.queue.refresh(wait)
    context.tasks.refuse_self_deadlock(list(wait.unfinished))
    absence = Absence(context, is_patient=options["wait_for_supervisor"] or timeout is not None)
    ended += _wait_for_tasks(context, wait, ended, timeout, absence)
    if not wait.is_over:
        unfinished, total = len(wait.unfinished), count_of(len(wait.ids), "task")
        note(f"timed out after {format_duration(timeout or 0)}: {unfinished} of {total} unfinished")
    tasks = {task.id: task for task in ended}
    return _report([tasks[id] for id in wait.ended if id in tasks], not wait.is_over, as_json)


def _selected(context: Context, ids: Sequence[str], parent: str | None) -> list[str]:
    selected = [context.resolve_id(id) for id in ids]
    return selected if ids and parent is None else [*selected, *context.queue.unfinished(parent)]


def _wait_for_tasks(
    context: Context, wait: Wait, ended: Sequence[Task], timeout: int | None, absence: Absence
) -> list[Task]:
    """Return the tasks that have ended during the wait."""
    new: list[Task] = []
    with _progress_bar(0 if wait.any else len(wait.ids)) as advance:
        advance(ended)

        def is_over() -> bool:
            advance(ended_now := context.queue.refresh(wait))
            new.extend(ended_now)
            if not wait.is_over:
                absence.check(lambda: context.queue.existing(islice(wait.unfinished, SAMPLE)))
            return wait.is_over

        wait_until(context, is_over, None if timeout is None else timeout / 1000, INTERVAL)
    return new


def _progress_bar(total: int) -> AbstractContextManager[Callable[[Sequence[Task]], object]]:
    """Return a progress bar that yields a function, which takes ended tasks. On a pipe it prints nothing."""
    if total < 2 or not sys.stderr.isatty():
        return nullcontext(len)
    return _Bar(total)


class _Bar(AbstractContextManager[Callable[[Sequence[Task]], object]]):
    def __init__(self, total: int) -> None:
        self._bar: Any = click.progressbar(
            length=total,
            file=sys.stderr,
            label="waiting",
            show_pos=True,
            show_eta=False,
            item_show_func=_last_ended,
        )

    def __enter__(self) -> Callable[[Sequence[Task]], object]:
        self._bar.__enter__()
        return self._advance

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def _advance(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._bar.update(1, task)


def _last_ended(task: Task | None) -> str:
    return "" if task is None else f"{short_id(task.id)} {task.status}"


def _report(tasks: Sequence[Task], timed_out: bool, as_json: bool) -> int:
    from ....ipc.model.batch import format_batch_notification

    statuses = [task.status for task in tasks]
    completed, failed = statuses.count(TaskStatus.COMPLETED), statuses.count(TaskStatus.ERROR)
    if as_json:
        print_json({"tasks": [task.brief() for task in tasks], "timedOut": timed_out})
    elif statuses:
        print(format_batch_notification(len(statuses), completed, failed))
    elif not timed_out:
        note("there are no unfinished tasks to wait for")
    if timed_out:
        return TIMED_OUT
    return 1 if len(statuses) > completed else 0
