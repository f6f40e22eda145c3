"""`export`."""

from __future__ import annotations

import sys
from itertools import chain

import click

from ....ipc.api.maintenance import Maintenance
from ..context import Context
from ..options import example


@click.command("export", epilog=example("export > tasks.json", "export --seed > background-manager.json"))
@click.option("--seed", is_flag=True, help="Use the format of background-manager.json.")
@click.pass_obj
def command(context: Context, seed: bool) -> None:
    """Print all tasks as one JSON document.

    The document is in UTF-8, whatever the locale is. Read it with: backburner import FILE
    """
    sys.stdout.flush()
    for piece in chain(Maintenance(context.store, context.valid_config).export(seed), "\n"):
        sys.stdout.buffer.write(piece.encode())
