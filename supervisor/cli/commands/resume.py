"""`resume`."""

from __future__ import annotations

import click

from ..context import Desk
from ..limits import checked, groups, tell
from ..options import example, json_option


@click.command("resume", short_help="Start tasks of a key again.", epilog=example("resume opus"))
@click.argument("key", callback=checked)
@json_option
@click.pass_obj
def command(desk: Desk, key: str, as_json: bool) -> None:
    """Start tasks of KEY again."""
    tell(desk, groups(desk).pause(key, 0), as_json)
