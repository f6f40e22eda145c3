"""`clear`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ....ipc.api.maintenance import Archive
from ..context import Desk
from ..options import example, json_option
from ..printing import print_counts

if TYPE_CHECKING:
    from ....ipc.api.maintenance import Archive


@click.command("clear", short_help="Cancel and delete everything.", epilog=example("clear --yes"))
@click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")
@json_option
@click.pass_obj
def command(desk: Desk, yes: bool, as_json: bool) -> None:
    """Tell what waits, cancel everything, delete all tasks, events and cursors. A supervisor stays."""
    if not yes:
        raise click.UsageError(
            f"this cancels and deletes every task in {desk.home.folder}; if you mean it: clear --yes",
            click.get_current_context(),
        )
    print_counts("cleared", Archive(desk.database, desk.sound_config).clear() if desk.exists else None, as_json)
