"""`up`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from ....ipc.api.control import OVERRIDES, end_moved_roles, start
from ....ipc.errors import AlreadyRunning, BadConfiguration
from ....ipc.home import current_folder
from ....ipc.machine.presence import Presence
from ..context import Context
from ..options import example
from ..printing import note

#: Seconds within which a starting supervisor must answer.
TIMEOUT = 30.0


@click.command("up", epilog=example("up --detach", "up"))
@click.option("--detach", "-d", is_flag=True, help="Run in the background; return when the supervisor answers.")
@click.pass_obj
def command(context: Context, detach: bool) -> None:
    """Run the supervisor.

    It runs in the foreground until SIGTERM or Ctrl-C, which wait for running tasks as `down` does. A second
    Ctrl-C ends running tasks, too. Each start and end of a task is printed on stderr, if that is a terminal or a
    pipe. If a supervisor is already running, the exit code is 100, or 0 with --detach.
    """
    if detach:
        _start(context)
        return
    from ..roles import run_supervisor

    end_moved_roles(context.home)
    _print_lines(context)
    run_supervisor(context.home, current_folder(), _overrides())


def _print_lines(context: Context) -> None:
    """Print how to stop the supervisor, and a line for each start and end of a task from now on."""
    from ..waiting.task_lines import TaskLines, wants_lines

    if Presence(context.home).is_held("supervisor") or not wants_lines():
        return
    note("Ctrl-C waits for running tasks and stops the supervisor; pressed twice, it ends the tasks, too")
    with context:  # the supervisor opens the store again
        TaskLines(context.home, context.store.events.last_seq() if context.has_database else 0).start()


def _start(context: Context) -> None:
    """Start a supervisor in the background, or wait until the running supervisor answers."""
    try:
        start(context.home)
    except AlreadyRunning:
        from ....ipc.bus.client import Client

        with Client(context.home, connect_timeout=TIMEOUT) as client:
            client.call("ping")
        pid = Presence(context.home).holder("supervisor")
        note(f"already up: a supervisor is running for {context.home.folder} (pid {pid})")
        return
    if sys.stderr.isatty():
        note(f"started a supervisor for {context.home.folder}; log: {context.home.log}")


def _overrides() -> dict[str, Any]:
    """Return the settings of the process that started this one, and hide them from child processes."""
    text = os.environ.pop(OVERRIDES, None)
    if not text:
        return {}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise BadConfiguration(f"{OVERRIDES} is not valid JSON ({error})") from None
    if not isinstance(settings, dict):
        raise BadConfiguration(f"{OVERRIDES} is not a JSON object")
    return settings
