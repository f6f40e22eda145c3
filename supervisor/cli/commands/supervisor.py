"""The supervisor's life: `up`, `down`, `reload`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ....ipc.api.control import OVERRIDES, restart, start, stop
from ....ipc.errors import BadConfiguration, NoSupervisor, Temporary
from ....ipc.machine.presence import Presence
from ....ipc.store.applied_config import last_reload
from ....ipc.store.processes import ProcessTable
from ..context import Desk
from ..ends import wait_until
from ..options import example, say, short

#: Seconds that a supervisor may take to read its files again.
PATIENCE = 30.0


@click.command("up", short_help="Run the supervisor.", epilog=example("up", "up --detach"))
@click.option("--detach", is_flag=True, help="In the background; returns when it can be talked to.")
@click.pass_obj
def up_command(desk: Desk, detach: bool) -> None:
    """Run the supervisor here, until SIGTERM or Ctrl-C; a second Ctrl-C ends running tasks, too."""
    if detach:
        start(desk.home)
        if sys.stderr.isatty():
            say(f"up in {desk.home.folder}; log: {desk.home.log}")
        return
    from ..roles import be_supervisor

    be_supervisor(desk.home, Path.cwd(), _overrides())


@click.command("down", epilog=example("down", "down --now --requeue"))
@click.option("--now", is_flag=True, help="End what is running, instead of waiting up to shutdown_grace_s.")
@click.option("--requeue", is_flag=True, help="With --now: back to pending, whether retries are left or not.")
@click.pass_obj
def down_command(desk: Desk, now: bool, requeue: bool) -> None:
    """Stop the supervisor. What still runs after a while is left to its workers; the next up adopts it."""
    if requeue and not now:
        raise click.UsageError("--requeue goes with --now", click.get_current_context())
    desk.refuse_foreign()
    stop(desk.home, now=now, requeue=requeue)
    for id in _still_running(desk):
        say(f"{short(id)} runs on; the next up adopts it")


@click.command(
    "restart",
    short_help="Hand over to a new supervisor.",
    epilog="\b\nExample:\n  pipx upgrade backburner && backburner restart",
)
@click.pass_obj
def restart_command(desk: Desk) -> None:
    """Have a new supervisor take over, of the program that this command is; running tasks are not touched.

    Returns when it can be talked to. After an upgrade this is all that is needed: what runs is finished by those who
    began it.
    """
    _ = desk.sound_config
    restart(desk.home)


@click.command("reload", short_help="Apply the configuration files again.", epilog=example("reload"))
@click.pass_obj
def reload_command(desk: Desk) -> None:
    """Apply the configuration files again; returns when they are in force. Running tasks are not touched."""
    desk.refuse_foreign()
    _refuse_none(desk)
    _ = desk.sound_config
    before = last_reload(desk.database)
    desk.home.wake("supervisor", "reload")
    if not wait_until(desk, lambda: last_reload(desk.database) != before, PATIENCE, lambda: _refuse_none(desk)):
        raise Temporary(f"The supervisor of {desk.home.folder} has not read them yet; see {desk.home.log}.")
    if why_not := last_reload(desk.database).why_not:
        raise BadConfiguration(why_not)


def _refuse_none(desk: Desk) -> None:
    if not Presence(desk.home).is_held("supervisor"):
        raise NoSupervisor(f"No supervisor is running for {desk.home.folder}.")


def _overrides() -> dict[str, Any]:
    """The settings that whoever started this process wants; its children are not to see them."""
    text = os.environ.pop(OVERRIDES, None)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadConfiguration(f"{OVERRIDES} is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BadConfiguration(f"{OVERRIDES} is no JSON object.")
    return found


def _still_running(desk: Desk) -> list[str]:
    """The running tasks that have a process."""
    return [one.id for one in ProcessTable(desk.database).running() if one.owner is not None]
