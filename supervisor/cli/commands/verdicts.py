"""Verdicts from outside, or from within a task: `retry`, `complete`, `fail`, `progress`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from ....ipc.model.task import Task
from ..context import Desk
from ..each import Each, report, require
from ..options import complete_id, example, ids_argument, json_option, print_json
from ..orphans import settle_orphans

_OWN = "BACKBURNER_TASK_ID"


@click.command("retry", short_help="Queue failed or cancelled tasks again.", epilog=example("retry 1a2b3c4d"))
@ids_argument
@json_option
@click.pass_obj
def retry_command(desk: Desk, ids: Sequence[str], as_json: bool) -> int:
    """Queue tasks that failed or were cancelled again, under the same ids."""
    require(ids)
    each = Each(desk)
    report(each.of(ids, lambda id: desk.queue.retry(id)), as_json)
    return each.code()


@click.command(
    "complete",
    short_help="Say that a running task is done.",
    epilog=example("complete 1a2b3c4d --result 'all 12 pages are done'"),
)
@click.argument("id", required=False, envvar=_OWN, shell_complete=complete_id)
@click.option("--result", metavar="TEXT", help="What came of it.")
@json_option
@click.pass_obj
def complete_command(desk: Desk, id: str | None, result: str | None, as_json: bool) -> None:
    """Say that a running task is done; what it still runs is ended. Within a task, ID is its own."""
    _print(_settled(desk, desk.queue.complete(_found(desk, id), result)), as_json)


@click.command(
    "fail",
    short_help="Say that a running task has failed.",
    epilog=example("fail 1a2b3c4d --error 'the reviewer said no'"),
)
@click.argument("id", required=False, envvar=_OWN, shell_complete=complete_id)
@click.option("--error", metavar="TEXT", required=True, help="What went wrong.")
@json_option
@click.pass_obj
def fail_command(desk: Desk, id: str | None, error: str, as_json: bool) -> None:
    """Say that a running task has failed; what it still runs is ended. Within a task, ID is its own."""
    _print(_settled(desk, desk.queue.fail(_found(desk, id), error)), as_json)


@click.command("progress", epilog=example("progress 1a2b3c4d '3 of 12 pages'"))
@click.argument("words", metavar="[ID] TEXT", nargs=-1)
@json_option
@click.pass_obj
def progress_command(desk: Desk, words: Sequence[str], as_json: bool) -> None:
    """Note how far a running task is. Within a task, ID is its own and may be left out."""
    if len(words) not in (1, 2):
        raise click.UsageError("progress takes an ID and one TEXT (quote it)", click.get_current_context())
    own = os.environ.get(_OWN)
    task = desk.queue.progress(_found(desk, words[0] if len(words) == 2 else own), words[-1])
    _print(task, as_json)


def _found(desk: Desk, id: str | None) -> str:
    if not id:
        raise click.UsageError(
            f"Missing argument 'ID' (only within a task, {_OWN} says it)", click.get_current_context()
        )
    return desk.find(id)


def _settled(desk: Desk, task: Task) -> Task:
    """The task; where nobody lives who would carry the verdict out, this process has."""
    if not task.stopping:
        return task
    settle_orphans(desk, [task.id])
    return desk.queue.get(task.id)


def _print(task: Task, as_json: bool) -> None:
    if as_json:
        print_json(task.to_json())
    else:
        report([task], False)
