"""`complete`."""

from __future__ import annotations

import click

from ..context import Context
from ..options import Output, example, json_option, own_id_argument, resolve_own_id
from ..printing import print_task
from .cancel import settle_verdict


@click.command(
    "complete", epilog=example("complete 1a2b3c4d --result 'all 12 pages are translated'", Output("1a2b3c4d completed"))
)
@own_id_argument
@click.option("--result", metavar="TEXT", help="The result to store. [default: none]")
@json_option
@click.pass_obj
def command(context: Context, id: str | None, result: str | None, as_json: bool) -> None:
    """Record that a running task has completed.

    The task's processes are then ended. Inside a task, ID is that task by default.
    """
    task = context.queue.complete(resolve_own_id(context, id), result)
    print_task(settle_verdict(context, task), as_json)
