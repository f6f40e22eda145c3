"""`fail`."""

from __future__ import annotations

import click

from ..context import Desk
from ..options import OWN_TASK, complete_id, example, json_option, own_task
from ..printing import print_task
from .cancel import settled


@click.command(
    "fail",
    short_help="Say that a running task has failed.",
    epilog=example("fail 1a2b3c4d --error 'the reviewer said no'"),
)
@click.argument("id", required=False, envvar=OWN_TASK, shell_complete=complete_id)
@click.option("--error", metavar="TEXT", required=True, help="What went wrong.")
@json_option
@click.pass_obj
def command(desk: Desk, id: str | None, error: str, as_json: bool) -> None:
    """Say that a running task has failed; what it still runs is ended. Within a task, ID is its own."""
    print_task(settled(desk, desk.queue.fail(own_task(desk, id), error)), as_json)
