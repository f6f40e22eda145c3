"""`down`."""

from __future__ import annotations

import click

from ....ipc import clock
from ....ipc.api.control import stop
from ....ipc.machine.presence import Presence
from ....ipc.model.task import Task
from ..context import Context
from ..options import example
from ..printing import note
from ..tables import sanitize
from ..text import count_of, format_duration, short_id, title

#: The maximum number of running tasks that are listed.
LISTED = 5


@click.command("down", epilog=example("down", "down --now --requeue"))
@click.option("--now", is_flag=True, help="End running tasks now. [default: wait up to shutdown_grace_s for them]")
@click.option(
    "--requeue", is_flag=True, help="With --now: make the ended tasks pending again, whether they have retries or not."
)
@click.pass_obj
def command(context: Context, now: bool, requeue: bool) -> None:
    """Stop the supervisor.

    Prints which tasks it waits for, and returns when the supervisor has exited. Tasks that are still running then
    keep running with their workers, and the next supervisor adopts them.
    """
    if requeue and not now:
        raise click.UsageError("--requeue requires --now", click.get_current_context())
    context.check_owner()
    _announce(context, now)
    try:
        stop(context.home, now=now, requeue=requeue)
    except KeyboardInterrupt:
        note("the supervisor continues to shut down; to see it: backburner status")
        raise
    for id in _still_running(context):
        note(f"task {short_id(id)} is still running; the next supervisor adopts it")


def _announce(context: Context, now: bool) -> None:
    """Print which tasks the supervisor waits for, or ends."""
    if not (context.has_database and Presence(context.home).is_held("supervisor")):
        return
    tasks = context.tasks.existing(_still_running(context))
    if not tasks:
        return
    grace = format_duration(context.config.shutdown_grace_s * 1000)
    running = count_of(len(tasks), "running task")
    note(f"ending {running}" if now else f"waiting up to {grace} for {running}; to end them: backburner down --now")
    for task in tasks[:LISTED]:
        note(f"  {short_id(task.id)} {elapsed(task)}  {sanitize(title(task))}")
    if len(tasks) > LISTED:
        note(f"  and {len(tasks) - LISTED} more: backburner list --status running")


def elapsed(task: Task) -> str:
    """Return how long a task has been running."""
    return "" if task.started_at is None else format_duration(clock.now() - task.started_at.timestamp() * 1000)


def _still_running(context: Context) -> list[str]:
    """Return the running tasks that have a process."""
    return [task.id for task in context.store.hosts.running() if task.owner is not None]
