"""`resume`."""

from __future__ import annotations

import click

from ..context import Context
from ..limits import key_argument, limit_groups, print_group
from ..options import Output, example, json_option


@click.command("resume", epilog=example("resume opus", Output("opus: at most 4 at once; 0 running, 0 pending")))
@key_argument
@json_option
@click.pass_obj
def command(context: Context, key: str, as_json: bool) -> None:
    """Start tasks of a paused key again."""
    print_group(context, limit_groups(context).resume(key), as_json)
