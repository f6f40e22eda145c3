"""`pause`."""

from __future__ import annotations

import click

from ..context import Desk
from ..limits import checked, groups, tell
from ..options import example, json_option


@click.command("pause", short_help="Start no more tasks of a key.", epilog=example("pause opus"))
@click.argument("key", callback=checked)
@json_option
@click.pass_obj
def command(desk: Desk, key: str, as_json: bool) -> None:
    """Start no more tasks of KEY until resume; those that run go on. Kept over restarts."""
    tell(desk, groups(desk).pause(key, 1), as_json)
