"""`wait`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from ....ipc.machine.presence import Presence
from ....ipc.model.task import Task, TaskStatus
from ..context import Desk
from ..options import DURATION, example, ids_argument, json_option
from ..printing import print_json, say
from ..text import no_supervisor, short, spoken
from ..waiting import Waiting, wait_until

TIMED_OUT = 124


@click.command(
    "wait",
    short_help="Wait until tasks have ended.",
    epilog=example("wait 1a2b3c4d 5e6f7a8b", "wait --parent ses-1 --timeout 10m"),
)
@ids_argument
@click.option("--parent", metavar="P", help="All unfinished tasks of this parent.")
@click.option("--any", "any_one", is_flag=True, help="Only until one of them has ended.")
@click.option("--timeout", type=DURATION, metavar="D", help="At most so long; then exit code 124.")
@json_option
@click.pass_obj
def command(
    desk: Desk,
    /,
    *,
    ids: Sequence[str],
    parent: str | None,
    any_one: bool,
    timeout: int | None,
    as_json: bool,
) -> int:
    """Wait until tasks have ended: those named, those of a parent, or all that are unfinished.

    Exits with 1 if one of them ended in error or was cancelled, with 124 on a timeout.
    """
    if not desk.exists and not ids:
        return _report([], False, as_json)
    waiting = Waiting(desk.queue, _wanted(desk, ids, parent))
    waiting.look()
    desk.tasks.refuse_own_slot(list(waiting.open))
    if waiting.open and not Presence(desk.home).is_held("supervisor"):
        say(f"waiting: {no_supervisor(desk)}")
    over = _wait(desk, waiting, any_one, timeout)
    if not over:
        still, all_of_them = len(waiting.open), len(waiting.open) + len(waiting.ended)
        say(f"{still} of {all_of_them} have not ended after {spoken(timeout or 0)}")
    return _report(waiting.ended, not over, as_json)


def _wanted(desk: Desk, ids: Sequence[str], parent: str | None) -> list[str]:
    found = [desk.find(id) for id in ids]
    return found if ids and parent is None else [*found, *desk.queue.unfinished(parent)]


def _wait(desk: Desk, waiting: Waiting, any_one: bool, timeout: int | None) -> bool:
    total = len(waiting.open) + len(waiting.ended)
    with _progress(0 if any_one else total) as advance:
        advance(waiting.ended)

        def done() -> bool:
            advance(waiting.look())
            return not waiting.open or (any_one and bool(waiting.ended))

        return wait_until(desk, done, None if timeout is None else timeout / 1000)


def _progress(total: int) -> AbstractContextManager[Callable[[Sequence[Task]], object]]:
    """A bar on a terminal, that is told of the tasks that have ended."""
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
            item_show_func=_last,
        )

    def __enter__(self) -> Callable[[Sequence[Task]], object]:
        self._bar.__enter__()
        return self._advance

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)

    def _advance(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._bar.update(1, task)


def _last(task: Task | None) -> str:
    return "" if task is None else f"{short(task.id)} {task.status}"


def _report(tasks: Sequence[Task], timed_out: bool, as_json: bool) -> int:
    from ....ipc.model.batch import format_batch_notification

    ends = [task.status for task in tasks]
    completed, failed = ends.count(TaskStatus.COMPLETED), ends.count(TaskStatus.ERROR)
    if as_json:
        print_json({"tasks": [task.brief() for task in tasks], "timedOut": timed_out})
    elif ends:
        print(format_batch_notification(len(ends), completed, failed))
    elif not timed_out:
        say("there is nothing to wait for")
    if timed_out:
        return TIMED_OUT
    return 1 if len(ends) > completed else 0
