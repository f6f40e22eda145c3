"""`cancel`, and the execution of a verdict without a supervisor."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

from ....ipc.errors import MoveNotAllowed, NotFound
from ....ipc.machine.presence import Presence
from ....ipc.model.task import Task
from ..context import Context
from ..options import Output, PerTask, example, ids_argument, json_option, require_selection
from ..printing import print_statuses


@click.command(
    "cancel", epilog=example("cancel 1a2b3c4d", Output("1a2b3c4d cancelled"), "cancel --all", "cancel --parent ses-1")
)
@ids_argument
@click.option("--parent", metavar="SESSION", help="Cancel all unfinished tasks of this session.")
@click.option("--all", "every", is_flag=True, help="Cancel all unfinished tasks.")
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], parent: str | None, every: bool, as_json: bool) -> int:
    """Cancel tasks and end their process trees.

    Returns when all processes of the tasks are gone. Needs no supervisor.
    """
    require_selection(ids, parent is not None or every, "--all or --parent")
    per_task = PerTask(context)
    cancelled = per_task.run(ids, lambda id: _cancel(context, id))
    if not ids and context.has_database:
        cancelled += context.queue.cancel_all(context.queue.unfinished(parent))
    print_statuses(wait_until_ended(context, cancelled), as_json)
    return per_task.report_errors()


def cancel_if_unfinished(context: Context, id: str) -> bool:
    """Record that a task is to be cancelled. Return False if it has ended or was deleted."""
    try:
        context.queue.cancel(id)
    except (MoveNotAllowed, NotFound):
        return False
    return True


def wait_until_ended(context: Context, ids: Sequence[str]) -> list[Task]:
    """Wait until all processes of these cancelled tasks have ended, and return the tasks."""
    if not ids:
        return []
    from ....ipc.api.waiting import wait_until_gone
    from ...pool.recovery import rescue_all

    wait_until_gone(context.queue, ids, rescue_all)
    return context.queue.existing(dict.fromkeys(ids))


def settle_verdict(context: Context, task: Task) -> Task:
    """Carry out a verdict if neither a worker nor a supervisor is alive to do so. Return the task."""
    if not task.stopping:
        return task
    settle_orphans(context, [task.id])
    return context.queue.get(task.id)


def settle_orphans(context: Context, ids: Collection[str]) -> None:
    """End and settle the tasks whose worker has died, if no supervisor is running to do so."""
    presence = Presence(context.home)
    if presence.is_held("supervisor"):
        return
    from ...pool.recovery import rescue_all

    running = [task for task in context.store.hosts.running() if task.id in ids]
    if any(task.is_orphaned(presence) for task in running):
        rescue_all(context.home)


def _cancel(context: Context, id: str) -> str:
    try:
        return context.queue.cancel(id).id
    except MoveNotAllowed:  # an earlier verdict stands, and must be carried out as well
        settle_orphans(context, [id])
        raise
