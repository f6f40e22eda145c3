"""`schema`."""

from __future__ import annotations

import click

from ..options import example
from ..printing import print_json


@click.command("schema", short_help="The JSON Schema of everything.", epilog=example("schema > backburner.schema.json"))
def command() -> None:
    """The JSON Schema of tasks, launches, events, the configuration and every method of the socket."""
    from ....ipc.bus.protocol import document

    print_json(document())
