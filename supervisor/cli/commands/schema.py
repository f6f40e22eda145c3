"""`schema`."""

from __future__ import annotations

import click

from ..options import example
from ..printing import print_json


@click.command("schema", epilog=example("schema > backburner.schema.json"))
def command() -> None:
    """Print the JSON Schema of tasks, events, settings and methods.

    It covers tasks, launch inputs, events, the configuration and every method of the socket.
    """
    from ....ipc.bus.protocol import document

    print_json(document())
