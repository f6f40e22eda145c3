"""`restart`."""

from __future__ import annotations

import click

from ....ipc.api.control import restart
from ..context import Desk


@click.command(
    "restart",
    short_help="Hand over to a new supervisor.",
    epilog="\b\nExample:\n  pipx upgrade backburner && backburner restart",
)
@click.pass_obj
def command(desk: Desk) -> None:
    """Have a new supervisor take over, of the program that this command is; running tasks are not touched.

    Returns when it can be talked to. After an upgrade this is all that is needed: what runs is finished by those who
    began it.
    """
    _ = desk.sound_config
    restart(desk.home)
