"""`flush`."""

from __future__ import annotations

import click

from ..context import Desk
from ..options import example


@click.command("flush", epilog=example("flush --parent ses-1"))
@click.option("--parent", metavar="P", help="Only what waits for this parent.")
@click.pass_obj
def command(desk: Desk, parent: str | None) -> None:
    """Deliver what waits for its window now."""
    from ....ipc.bus.client import Client

    desk.refuse_foreign()
    with Client(desk.home) as client:
        client.call("flush", **({} if parent is None else {"parentSessionId": parent}))
