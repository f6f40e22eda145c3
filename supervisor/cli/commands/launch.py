"""`launch`, and what `run` shares with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ....ipc.errors import AlreadyRunning, InvalidInput
from ....ipc.machine.presence import Presence
from ....ipc.model.launch import LaunchInput
from ....ipc.store.queue import Launched, Queue
from ..context import Context
from ..launch_input import Options, Positional, launch_inputs, locate
from ..launch_options import LaunchCommand, launch_options
from ..options import example
from ..printing import note, print_json


@click.command(
    "launch",
    cls=LaunchCommand,
    epilog=example("launch --key build --timeout 10m -- make test", "launch --agent claude 'Refactor the parser'"),
)
@launch_options
@click.pass_obj
def command(context: Context, /, words: Sequence[str], up: bool, as_json: bool, **options: Any) -> None:
    """Queue a task and print its ID.

    The task starts as soon as its key has a free slot.
    """
    launched = launch(context, parse_inputs(context, options, words), options)
    if as_json:
        documents = [task_document(context.queue, one) for one in launched]
        print_json(documents if options["from_file"] else documents[0])
    else:
        sys.stdout.write("".join(f"{one.id}\n" for one in launched))
    sys.stdout.flush()
    start_supervisor(context, up)
    if sys.stderr.isatty() and launched:
        _explain(context, launched[-1])


def parse_inputs(context: Context, options: Options, words: Sequence[str]) -> list[LaunchInput]:
    """Return the tasks that the command line means. Raises InvalidInput, UnknownAgent, NotFound, BadConfiguration."""
    return launch_inputs(context, options, Positional(words, click.get_current_context().meta["command"]))


def launch(context: Context, inputs: Sequence[LaunchInput], options: Options) -> list[Launched]:
    """Queue tasks: all of them or none. Raises InvalidInput, UnknownAgent, NotFound, OverCap."""
    queue = Queue(context.database, context.valid_config)
    try:
        return queue.launch_many(inputs)
    except InvalidInput as error:
        raise locate(error, options["from_file"]) from None


def task_document(queue: Queue, launched: Launched) -> dict[str, Any]:
    """Return a launched task as JSON, with `existing`: True if an unfinished task was returned instead."""
    return queue.get(launched.id).to_json() | {"existing": launched.existing}


def start_supervisor(context: Context, up: bool) -> None:
    """Start a supervisor if none is running and `--up` or the configuration asks for one."""
    if not (up or context.config.autostart) or Presence(context.home).is_held("supervisor"):
        return
    from ....ipc.api.control import start

    try:
        start(context.home)
    except AlreadyRunning:  # another command was faster
        return


def _explain(context: Context, launched: Launched) -> None:
    from ..text import explain_pending

    if launched.existing:
        note("an unfinished task of that name exists; nothing new was queued")
    if explanation := explain_pending(context.queue.get(launched.id), context):
        note(explanation)
