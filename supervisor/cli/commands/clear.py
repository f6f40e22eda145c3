"""`clear`."""

from __future__ import annotations

import click

from ....ipc.api.maintenance import Maintenance
from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_counts


@click.command("clear", epilog=example("clear --yes", Output("deleted 4 tasks, 13 events")))
@click.option("--yes", is_flag=True, help="Confirm. Without this option nothing is changed.")
@json_option
@click.pass_obj
def command(context: Context, yes: bool, as_json: bool) -> None:
    """Cancel and delete all tasks and events.

    Pending notifications are sent first, and running tasks are cancelled. A running supervisor keeps running.
    """
    if not yes:
        raise click.UsageError(
            f"this cancels and deletes every task in {context.home.folder}; to do it: backburner clear --yes",
            click.get_current_context(),
        )
    cleared = Maintenance(context.store, context.valid_config).clear() if context.has_database else None
    print_counts("deleted", cleared, as_json)
