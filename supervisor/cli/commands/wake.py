"""`wake`: ready-made commands for the setting `on_batch`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from ....ipc.errors import InvalidInput
from ..context import Context
from ..options import example

URL = "http://127.0.0.1:4096"


@click.command(
    "wake",
    epilog=example(
        """config set --user on_batch '["backburner", "wake", "desktop"]'""",
        "launch --notify person -- make test",
        "wake opencode --url http://127.0.0.1:4096 < batch.json",
    ),
)
@click.argument("target", type=click.Choice(["desktop", "apprise", "opencode"]))
@click.option("--config", metavar="FILE", help="A configuration file of Apprise. [default: Apprise's own]")
@click.option("--url", metavar="URL", default=URL, help=f"The address of opencode's server. [default: {URL}]")
@click.pass_obj
def command(context: Context, target: str, config: str | None, url: str) -> None:
    """Forward a batch to the desktop, to Apprise or to opencode.

    Apprise sends it by mail, chat or push, as its own configuration file sets. Reads the batch on stdin, as on_batch
    passes it. In ~/.config/backburner/config.toml:

    \b
    on_batch = ["backburner", "wake", "desktop"]
    """
    batch = _read_batch()
    from ...integrations.wake import Opencode, apprise, desktop

    if target == "desktop":
        desktop(batch)
    elif target == "apprise":
        apprise(batch, config)
    elif context.has_database:
        Opencode(url, os.environ).wake(context.home, batch["parentSessionId"])


def _read_batch() -> dict[str, Any]:
    try:
        batch = json.load(sys.stdin)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"stdin: expected a batch as JSON ({error})") from None
    if not (isinstance(batch, dict) and {"parentSessionId", "message", "tasks"} <= batch.keys()):
        raise InvalidInput("stdin: expected a batch, as on_batch passes it")
    return batch
