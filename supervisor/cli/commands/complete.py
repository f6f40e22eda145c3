"""`complete`."""

from __future__ import annotations

import click

from ..context import Desk
from ..options import OWN_TASK, complete_id, example, json_option, own_task
from ..printing import print_task
from .cancel import settled


@click.command(
    "complete",
    short_help="Say that a running task is done.",
    epilog=example("complete 1a2b3c4d --result 'all 12 pages are done'"),
)
@click.argument("id", required=False, envvar=OWN_TASK, shell_complete=complete_id)
@click.option("--result", metavar="TEXT", help="What came of it.")
@json_option
@click.pass_obj
def command(desk: Desk, id: str | None, result: str | None, as_json: bool) -> None:
    """Say that a running task is done; what it still runs is ended. Within a task, ID is its own."""
    print_task(settled(desk, desk.queue.complete(own_task(desk, id), result)), as_json)
