"""`down`."""

from __future__ import annotations

import click

from ....ipc.api.control import stop
from ..context import Context
from ..options import example
from ..printing import note
from ..text import short_id


@click.command("down", epilog=example("down", "down --now --requeue"))
@click.option("--now", is_flag=True, help="End running tasks now. [default: wait up to shutdown_grace_s for them]")
@click.option(
    "--requeue", is_flag=True, help="With --now: make the ended tasks pending again, whether they have retries or not."
)
@click.pass_obj
def command(context: Context, now: bool, requeue: bool) -> None:
    """Stop the supervisor.

    Returns when it has exited. Tasks that are still running then keep running with their workers, and the next
    supervisor adopts them.
    """
    if requeue and not now:
        raise click.UsageError("--requeue requires --now", click.get_current_context())
    context.check_owner()
    stop(context.home, now=now, requeue=requeue)
    for id in _still_running(context):
        note(f"task {short_id(id)} is still running; the next supervisor adopts it")


def _still_running(context: Context) -> list[str]:
    """Return the running tasks that have a process."""
    return [task.id for task in context.store.hosts.running() if task.owner is not None]
