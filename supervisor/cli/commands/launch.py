"""`launch`, and the parts that `run` shares with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ....ipc.errors import InvalidInput, OutputFailed
from ....ipc.model.launch import LaunchInput
from ....ipc.store.queue import Launched, Queue
from ..autostart import ensure_supervisor
from ..context import Context
from ..input.notices import note_doubts
from ..input.variables import launcher
from ..launch_input import Options, Positional, launch_inputs, locate
from ..launch_options import LaunchCommand, launch_options
from ..options import Output, example
from ..printing import note, print_json


@click.command(
    "launch",
    cls=LaunchCommand,
    epilog=example(
        "launch --key build --timeout 10m -- make test",
        Output("bg-1a2b3c4d-c56f-4b7f-875a-82e30af625f2"),
        "launch --after - -- make deploy",
        "launch --at 03:00 -c 'make nightly > nightly.log'",
        "launch --like 1a2b3c4d -- make other",
        "launch --agent claude 'Refactor the parser'",
    ),
)
@launch_options
@click.pass_obj
def command(context: Context, /, words: Sequence[str], up: bool | None, as_json: bool, **options: Any) -> None:
    """Queue a task and print its ID.

    The task starts as soon as its key has a free slot. If no supervisor is running, one is started in the
    background.
    """
    launched = launch(context, parse_inputs(context, options, words), options)
    try:
        _print(context, launched, as_json, options)
    except OutputFailed:
        note(f"queued all the same: {' '.join(task.id for task in launched)}")
        raise
    finally:
        reported = not launched or ensure_supervisor(context, up)
    if launched and sys.stderr.isatty():
        _explain(context, launched[-1], reported)


def _print(context: Context, launched: Sequence[Launched], as_json: bool, options: Options) -> None:
    if as_json:
        documents = [task_document(context.queue, task) for task in launched]
        print_json(documents if options["from_file"] else documents[0])
    else:
        sys.stdout.write("".join(f"{task.id}\n" for task in launched))
    sys.stdout.flush()


def parse_inputs(context: Context, options: Options, words: Sequence[str]) -> list[LaunchInput]:
    """Return the inputs of a command line. Raises InvalidInput, UnknownAgent, NotFound, BadConfiguration."""
    inputs = launch_inputs(context, options, Positional(words, click.get_current_context().meta["command"]))
    if any(given.notify for given in inputs):
        _check_notification()
    return inputs


def _check_notification() -> None:
    from ....ipc.config.files import on_batch

    if not on_batch():
        note("--notify person has no effect yet: no on_batch command is configured; see: backburner wake --help")


def launch(context: Context, inputs: Sequence[LaunchInput], options: Options) -> list[Launched]:
    """Queue all tasks or none. Raises InvalidInput, UnknownAgent, NotFound, OverCap."""
    queue = Queue(context.store, context.valid_config)
    try:
        launched = queue.launch_many(inputs, launcher(options))
    except InvalidInput as error:
        raise locate(error, inputs, options["from_file"]) from None
    note_doubts(context, inputs, options)
    return launched


def task_document(queue: Queue, launched: Launched) -> dict[str, Any]:
    """Return a launched task as JSON, with `existing`: True if an unfinished task was returned instead."""
    return queue.get(launched.id).to_json() | {"existing": launched.existing}


def _explain(context: Context, launched: Launched, supervisor_reported: bool) -> None:
    from ..text import explain_pending

    if launched.existing:
        note("an unfinished task has this name; no new task was queued")
    task = context.queue.get(launched.id)
    if task.waiting_for == "supervisor" and supervisor_reported:
        return
    if explanation := explain_pending(task, context):
        note(explanation)
