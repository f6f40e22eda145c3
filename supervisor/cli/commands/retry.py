"""`retry`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..context import Context
from ..options import PerTask, example, ids_argument, json_option, require_ids
from ..printing import print_statuses


@click.command("retry", epilog=example("retry 1a2b3c4d"))
@ids_argument
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], as_json: bool) -> int:
    """Queue failed or cancelled tasks again.

    The tasks keep their IDs, and their attempts are counted on.
    """
    require_ids(ids)
    per_task = PerTask(context)
    print_statuses(per_task.run(ids, lambda id: context.queue.retry(id)), as_json)
    return per_task.report_errors()
