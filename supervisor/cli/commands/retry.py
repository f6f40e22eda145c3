"""`retry`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..context import Desk
from ..options import Each, example, ids_argument, json_option, require
from ..printing import report


@click.command("retry", short_help="Queue failed or cancelled tasks again.", epilog=example("retry 1a2b3c4d"))
@ids_argument
@json_option
@click.pass_obj
def command(desk: Desk, ids: Sequence[str], as_json: bool) -> int:
    """Queue tasks that failed or were cancelled again, under the same ids."""
    require(ids)
    each = Each(desk)
    report(each.of(ids, lambda id: desk.queue.retry(id)), as_json)
    return each.code()
