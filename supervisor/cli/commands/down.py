"""`down`."""

from __future__ import annotations

import click

from ....ipc.api.control import stop
from ....ipc.store.processes import ProcessTable
from ..context import Desk
from ..options import example
from ..printing import say
from ..text import short


@click.command("down", epilog=example("down", "down --now --requeue"))
@click.option("--now", is_flag=True, help="End what is running, instead of waiting up to shutdown_grace_s.")
@click.option("--requeue", is_flag=True, help="With --now: back to pending, whether retries are left or not.")
@click.pass_obj
def command(desk: Desk, now: bool, requeue: bool) -> None:
    """Stop the supervisor. What still runs after a while is left to its workers; the next up adopts it."""
    if requeue and not now:
        raise click.UsageError("--requeue goes with --now", click.get_current_context())
    desk.refuse_foreign()
    stop(desk.home, now=now, requeue=requeue)
    for id in _still_running(desk):
        say(f"{short(id)} runs on; the next up adopts it")


def _still_running(desk: Desk) -> list[str]:
    """The running tasks that have a process."""
    return [one.id for one in ProcessTable(desk.database).running() if one.owner is not None]
