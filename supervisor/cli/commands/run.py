"""`run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ....ipc.errors import INTERRUPTED, MoveNotAllowed
from ....ipc.model.task import Task, TaskStatus
from ....ipc.store.queue import Launched
from ..autostart import ensure_supervisor
from ..context import Context
from ..launch_options import LaunchCommand, launch_options
from ..options import example
from ..printing import note, print_json
from ..text import explain_pending, no_supervisor, short_id
from .launch import launch, parse_inputs, task_document
from .output import StreamCopy, follow_task

#: The exit code of a shell for a program that was not found.
NOT_FOUND = 127


@click.command("run", cls=LaunchCommand, epilog=example("run -- make test", "run --agent claude 'Explain this folder'"))
@launch_options
@click.pass_obj
def command(context: Context, /, words: Sequence[str], up: bool | None, as_json: bool, **options: Any) -> int:
    """Queue a task, print its output and exit with its exit code.

    If no supervisor is running, one is started in the background. The exit code is 128 plus the number of the signal
    that ended the task, and 127 if its program was not found. Ctrl-C cancels the task. With --json, the ended task is
    printed instead of its output.
    """
    inputs = parse_inputs(context, options, words)
    if len(inputs) != 1:
        raise click.UsageError(f"run takes one task, got {len(inputs)}", click.get_current_context())
    launched = launch(context, inputs, options)[0]
    try:
        if not ensure_supervisor(context, up):
            note(f"waiting: {no_supervisor(context)}")
        _refuse_deadlock(context, launched)
        task = _follow(context, launched, as_json)
    except KeyboardInterrupt:
        return _interrupted(context, launched)
    if as_json:
        print_json(task_document(context.queue, launched))
    return _report(task)


def _refuse_deadlock(context: Context, launched: Launched) -> None:
    """Cancel the task if it needs the slot of the task in which this command runs. Raises MoveNotAllowed."""
    try:
        context.queue.refuse_self_deadlock([launched.id])
    except MoveNotAllowed:
        if not launched.existing:
            context.queue.cancel(launched.id)
        raise


def _follow(context: Context, launched: Launched, silent: bool) -> Task:
    task = context.queue.get(launched.id)
    if sys.stderr.isatty() and task.waiting_for != "supervisor" and (explanation := explain_pending(task, context)):
        note(explanation)
    copies = (
        StreamCopy(context.queue, launched.id, "stdout", sys.stdout.buffer),
        StreamCopy(context.queue, launched.id, "stderr", sys.stderr.buffer),
    )
    return follow_task(context, launched.id, () if silent else copies)


def _interrupted(context: Context, launched: Launched) -> int:
    """Cancel the task, unless another command launched it."""
    from .cancel import cancel_if_unfinished, wait_until_ended

    id = short_id(launched.id)
    if launched.existing:
        note(f"task {id} keeps running; to cancel it: backburner cancel {id}")
    elif cancel_if_unfinished(context, launched.id):
        wait_until_ended(context, [launched.id])
        note(f"task {id} was cancelled")
    return INTERRUPTED


def _report(task: Task) -> int:
    if task.status is not TaskStatus.COMPLETED and task.error_kind not in ("exit", None):
        note(f"task {short_id(task.id)} failed ({task.error_kind}): {task.error}")
    elif task.status is TaskStatus.CANCELLED:
        note(f"task {short_id(task.id)} was cancelled")
    return exit_code(task)


def exit_code(task: Task) -> int:
    """Return the exit code that a shell would report for the task's command."""
    if task.status is TaskStatus.COMPLETED:
        return task.exit_code or 0
    if task.error_kind == "signal" and task.signal:
        return 128 + task.signal
    if task.error_kind == "spawn":
        return task.exit_code or NOT_FOUND
    return (task.error_kind == "exit" and task.exit_code) or 1
