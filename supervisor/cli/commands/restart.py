"""`restart`."""

from __future__ import annotations

import click

from ....ipc.api.control import restart
from ....ipc.machine.distribution import UPGRADE_COMMAND
from ..context import Context


@click.command("restart", epilog=f"\b\nExample:\n  $ {UPGRADE_COMMAND} && backburner restart")
@click.pass_obj
def command(context: Context) -> None:
    """Replace the supervisor, for example after an upgrade.

    The new supervisor runs the program of this command. It keeps the environment of the old one. Returns when it
    answers. Running tasks are not affected: the processes that started them finish them.
    """
    _ = context.valid_config
    restart(context.home)
