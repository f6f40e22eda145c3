"""`wake`: ready commands for `on_batch`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from ....ipc.errors import InvalidInput
from ..context import Desk
from ..options import example

URL = "http://127.0.0.1:4096"


@click.command(
    "wake",
    short_help="Tell a person or a waiting session of a batch.",
    epilog=example("wake desktop < batch.json", "wake opencode --url http://127.0.0.1:4096 < batch.json"),
)
@click.argument("way", type=click.Choice(["desktop", "opencode"]))
@click.option("--url", metavar="URL", default=URL, help=f"Where opencode's server is. [default: {URL}]")
@click.pass_obj
def command(desk: Desk, way: str, url: str) -> None:
    """Read a batch on stdin, as on_batch gives it, and tell of it.

    In ~/.config/backburner/config.toml: on_batch = ["backburner", "wake", "desktop"]
    """
    batch = _batch()
    from ...integrations.wake import Opencode, desktop

    if way == "desktop":
        desktop(batch)
    elif desk.exists:
        Opencode(url, os.environ).wake(desk.home, batch["parentSessionId"])


def _batch() -> dict[str, Any]:
    try:
        found = json.load(sys.stdin)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"stdin: expected a batch as JSON ({error}).") from None
    if not (isinstance(found, dict) and {"parentSessionId", "message", "tasks"} <= found.keys()):
        raise InvalidInput("stdin: expected a batch, as on_batch gives it.")
    return found
