"""`retry`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ..autostart import UP_HELP, ensure_supervisor
from ..context import Context
from ..options import PerTask, example, ids_argument, json_option, require_ids
from ..printing import print_statuses


@click.command("retry", epilog=example("retry 1a2b3c4d"))
@ids_argument
@click.option("--up/--no-up", default=None, help=UP_HELP)
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], up: bool | None, as_json: bool) -> int:
    """Queue failed or cancelled tasks again.

    The tasks keep their IDs, and the count of their attempts continues. If no supervisor is running, one is started in
    the background.
    """
    require_ids(ids)
    per_task = PerTask(context)
    retried = per_task.run(ids, lambda id: context.queue.retry(id))
    print_statuses(retried, as_json)
    sys.stdout.flush()
    if retried:
        ensure_supervisor(context, up)
    return per_task.report_errors()
