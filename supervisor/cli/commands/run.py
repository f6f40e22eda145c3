"""`run`: launch, pass on what is written, exit as the task did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ....ipc.errors import MoveNotAllowed
from ....ipc.machine.presence import Presence
from ....ipc.model.task import Task, TaskStatus
from ....ipc.store.queue import Launched
from ..context import Desk
from ..errors import INTERRUPTED
from ..launch_options import Launching, launch_options
from ..options import example
from ..printing import print_json, say
from ..text import hint, no_supervisor, short
from .launch import accept, described, start_if_wanted, wanted
from .output import Pipe, follow_task

#: What a shell says for a program that it did not find.
NOT_FOUND = 127


@click.command(
    "run",
    short_help="Launch a task, pass its output on, exit as it does.",
    cls=Launching,
    epilog=example("run -- make test", "run --agent claude 'Explain this folder'"),
)
@launch_options
@click.pass_obj
def command(desk: Desk, /, words: Sequence[str], up: bool, as_json: bool, **options: Any) -> int:
    """Launch a task and stay: its output as it comes, then its exit code. Ctrl-C cancels it.

    With --json the task is printed when it has ended, and its output is not.
    """
    tasks = wanted(desk, options, words)
    if len(tasks) != 1:
        raise click.UsageError(f"run takes one task, not {len(tasks)}", click.get_current_context())
    launched = accept(desk, tasks, options)[0]
    try:
        start_if_wanted(desk, up)
        _refuse_own_slot(desk, launched)
        task = _follow(desk, launched, as_json)
    except KeyboardInterrupt:
        return _interrupted(desk, launched)
    if as_json:
        print_json(described(desk.queue, launched))
    return _report(task)


def _refuse_own_slot(desk: Desk, launched: Launched) -> None:
    """What would never start is not left behind for somebody who was told that it will not be waited for."""
    try:
        desk.queue.refuse_own_slot([launched.id])
    except MoveNotAllowed:
        if not launched.existing:
            desk.queue.cancel(launched.id)
        raise


def _follow(desk: Desk, launched: Launched, silent: bool) -> Task:
    if not Presence(desk.home).is_held("supervisor"):
        say(f"waiting: {no_supervisor(desk)}")
    elif sys.stderr.isatty() and (why := hint(desk.queue.get(launched.id), desk)):
        say(why)
    pipes = (
        Pipe(desk.queue, launched.id, "stdout", sys.stdout.buffer),
        Pipe(desk.queue, launched.id, "stderr", sys.stderr.buffer),
    )
    return follow_task(desk, launched.id, () if silent else pipes)


def _interrupted(desk: Desk, launched: Launched) -> int:
    """Cancel the task, unless somebody else launched it."""
    from .cancel import cancel_one, wait_for_ends

    if launched.existing:
        say(f"task {short(launched.id)} goes on; cancel it: backburner cancel {short(launched.id)}")
    elif cancel_one(desk, launched.id):
        wait_for_ends(desk, [launched.id])
        say(f"cancelled {short(launched.id)}")
    return INTERRUPTED


def _report(task: Task) -> int:
    if task.status is not TaskStatus.COMPLETED and task.error_kind not in ("exit", None):
        say(f"task {short(task.id)}: {task.error_kind}: {task.error}")
    elif task.status is TaskStatus.CANCELLED:
        say(f"task {short(task.id)} was cancelled")
    return exit_code(task)


def exit_code(task: Task) -> int:
    """What a shell would have exited with."""
    if task.status is TaskStatus.COMPLETED:
        return task.exit_code or 0
    if task.error_kind == "signal" and task.signal:
        return 128 + task.signal
    if task.error_kind == "spawn":
        return task.exit_code or NOT_FOUND
    return (task.error_kind == "exit" and task.exit_code) or 1
