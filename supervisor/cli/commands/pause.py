"""`pause`."""

from __future__ import annotations

import click

from ..context import Context
from ..limits import key_argument, limit_groups, print_group
from ..options import Output, example, json_option


@click.command("pause", epilog=example("pause opus", Output("opus: paused, at most 4 at once; 0 running, 0 pending")))
@key_argument
@json_option
@click.pass_obj
def command(context: Context, key: str, as_json: bool) -> None:
    """Stop starting tasks of a key.

    Running tasks continue. KEY stays paused over restarts, until: backburner resume KEY
    """
    print_group(context, limit_groups(context).pause(key), as_json)
