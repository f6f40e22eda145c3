"""`flush`."""

from __future__ import annotations

import click

from ..context import Context
from ..options import example


@click.command("flush", epilog=example("flush --parent ses-1"))
@click.option("--parent", metavar="SESSION", help="Send the notifications of this session only.")
@click.pass_obj
def command(context: Context, parent: str | None) -> None:
    """Send pending notifications now.

    Otherwise they are sent together at the end of notification_batch_window_ms.
    """
    from ....ipc.bus.client import Client

    context.check_owner()
    with Client(context.home) as client:
        client.call("flush", **({} if parent is None else {"parentSessionId": parent}))
