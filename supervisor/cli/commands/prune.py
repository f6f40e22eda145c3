"""`prune`."""

from __future__ import annotations

import click

from ....ipc.api.maintenance import Maintenance
from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_counts


@click.command("prune", epilog=example("prune", Output("deleted 0 tasks, 0 events, 0 files")))
@json_option
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Delete old tasks and events.

    Deletes ended tasks and acknowledged events that are older than retention_days. A supervisor does this regularly.
    """
    pruned = Maintenance(context.store, context.valid_config).prune() if context.has_database else None
    print_counts("deleted", pruned, as_json)
