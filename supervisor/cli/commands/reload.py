"""`reload`."""

from __future__ import annotations

import click

from ....ipc.errors import BadConfiguration, NoSupervisor, Temporary
from ....ipc.machine.lock import holder
from ....ipc.store.applied_config import last_reload
from ..context import Desk
from ..options import example
from ..waiting import wait_until

#: Seconds that a supervisor may take to read its files again.
PATIENCE = 30.0


@click.command("reload", short_help="Apply the configuration files again.", epilog=example("reload"))
@click.pass_obj
def command(desk: Desk) -> None:
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
    if holder(desk.home.lock("supervisor")) is None:
        raise NoSupervisor(f"No supervisor is running for {desk.home.folder}.")
