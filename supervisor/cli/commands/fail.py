"""`fail`."""

from __future__ import annotations

import click

from ..context import Context
from ..options import Output, example, json_option, own_id_argument, resolve_own_id
from ..printing import print_task
from .cancel import settle_verdict


@click.command(
    "fail", epilog=example("fail 1a2b3c4d --error 'the review found three errors'", Output("1a2b3c4d error"))
)
@own_id_argument
@click.option("--error", metavar="TEXT", required=True, help="The error message to store.")
@json_option
@click.pass_obj
def command(context: Context, id: str | None, error: str, as_json: bool) -> None:
    """Record that a running task has failed.

    The task's processes are then ended. Inside a task, ID is that task by default.
    """
    task = context.queue.fail(resolve_own_id(context, id), error)
    print_task(settle_verdict(context, task), as_json)
