"""`prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ....ipc.api.maintenance import Archive
from ..context import Desk
from ..options import example, json_option
from ..printing import print_counts

if TYPE_CHECKING:
    from ....ipc.api.maintenance import Archive


@click.command("prune", short_help="Delete what is old.", epilog=example("prune"))
@json_option
@click.pass_obj
def command(desk: Desk, as_json: bool) -> None:
    """Delete ended tasks and acknowledged events that are older than retention_days."""
    print_counts("pruned", Archive(desk.database, desk.sound_config).prune() if desk.exists else None, as_json)
