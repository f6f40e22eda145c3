"""`export`."""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING

import click

from ....ipc.api.maintenance import Archive
from ..context import Desk
from ..options import example

if TYPE_CHECKING:
    from ....ipc.api.maintenance import Archive


@click.command(
    "export",
    short_help="Write all tasks as JSON.",
    epilog=example("export > tasks.json", "export --seed > background-manager.json"),
)
@click.option("--seed", is_flag=True, help="In the format of the seed's background-manager.json.")
@click.pass_obj
def command(desk: Desk, seed: bool) -> None:
    """Write all tasks as one JSON document to stdout, in UTF-8."""
    sys.stdout.flush()
    for piece in chain(Archive(desk.database, desk.sound_config).export(seed), "\n"):
        sys.stdout.buffer.write(piece.encode())
