"""`up`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ....ipc.api.control import OVERRIDES, start
from ....ipc.errors import BadConfiguration
from ..context import Desk
from ..options import example
from ..printing import say


@click.command("up", short_help="Run the supervisor.", epilog=example("up", "up --detach"))
@click.option("--detach", is_flag=True, help="In the background; returns when it can be talked to.")
@click.pass_obj
def command(desk: Desk, detach: bool) -> None:
    """Run the supervisor here, until SIGTERM or Ctrl-C; a second Ctrl-C ends running tasks, too."""
    if detach:
        start(desk.home)
        if sys.stderr.isatty():
            say(f"up in {desk.home.folder}; log: {desk.home.log}")
        return
    from ..roles import be_supervisor

    be_supervisor(desk.home, Path.cwd(), _overrides())


def _overrides() -> dict[str, Any]:
    """The settings that whoever started this process wants; its children are not to see them."""
    text = os.environ.pop(OVERRIDES, None)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadConfiguration(f"{OVERRIDES} is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise BadConfiguration(f"{OVERRIDES} is no JSON object.")
    return found
