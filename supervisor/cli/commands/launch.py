"""`launch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from ....ipc.errors import AlreadyRunning, InvalidInput
from ....ipc.machine.presence import Presence
from ....ipc.model.launch import LaunchInput
from ....ipc.store.queue import Launched, Queue
from ..context import Desk
from ..launch_input import Options, Words, inputs, placed
from ..launch_options import Launching, launch_options
from ..options import example
from ..printing import print_json, say


@click.command(
    "launch",
    cls=Launching,
    epilog=example("launch --agent claude --model opus 'Refactor the parser'", "launch --key io -- make test"),
)
@launch_options
@click.pass_obj
def command(desk: Desk, /, words: Sequence[str], up: bool, as_json: bool, **options: Any) -> None:
    """Accept a task and print its id. Works with no supervisor: the task waits for one."""
    launched = accept(desk, wanted(desk, options, words), options)
    if as_json:
        documents = [described(desk.queue, one) for one in launched]
        print_json(documents if options["from_file"] else documents[0])
    else:
        sys.stdout.write("".join(f"{one.id}\n" for one in launched))
    sys.stdout.flush()
    start_if_wanted(desk, up)
    if sys.stderr.isatty() and launched:
        _hint(desk, launched[-1])


def wanted(desk: Desk, options: Options, words: Sequence[str]) -> list[LaunchInput]:
    """What the command line says. Raises InvalidInput, UnknownAgent, NotFound, BadConfiguration."""
    return inputs(desk, options, Words(words, click.get_current_context().meta["command"]))


def accept(desk: Desk, tasks: Sequence[LaunchInput], options: Options) -> list[Launched]:
    """Launch them, all or none. Raises InvalidInput, UnknownAgent, NotFound, OverCap."""
    queue = Queue(desk.database, desk.sound_config)
    try:
        return queue.launch_many(tasks)
    except InvalidInput as error:
        raise placed(error, options["from_file"]) from None


def described(queue: Queue, launched: Launched) -> dict[str, Any]:
    """A task as it was accepted; `existing` says that it was there already."""
    return queue.get(launched.id).to_json() | {"existing": launched.existing}


def start_if_wanted(desk: Desk, up: bool) -> None:
    """Start a supervisor where one is wanted and none runs."""
    if not (up or desk.config.autostart) or Presence(desk.home).is_held("supervisor"):
        return
    from ....ipc.api.control import start

    try:
        start(desk.home)
    except AlreadyRunning:  # somebody else was faster
        return


def _hint(desk: Desk, launched: Launched) -> None:
    from ..text import hint

    if launched.existing:
        say("it was there already; nothing new was launched")
    if why := hint(desk.queue.get(launched.id), desk):
        say(why)
