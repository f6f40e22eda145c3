"""`cancel`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

from ....ipc.errors import MoveNotAllowed, NotFound
from ....ipc.machine.lock import holder
from ....ipc.model.task import Task
from ....ipc.store.processes import ProcessTable
from ..context import Desk
from ..options import Each, example, ids_argument, json_option, require
from ..printing import report
from ..waiting import Waiting, wait_until


@click.command("cancel", short_help="Cancel tasks.", epilog=example("cancel 1a2b3c4d", "cancel --parent ses-1"))
@ids_argument
@click.option("--parent", metavar="P", help="All unfinished tasks of this parent.")
@json_option
@click.pass_obj
def command(desk: Desk, ids: Sequence[str], parent: str | None, as_json: bool) -> int:
    """Cancel tasks; returns when their processes are gone, with or without a supervisor."""
    if parent is None:
        require(ids)
    each = Each(desk)
    cancelled = each.of(ids, lambda id: _cancel(desk, id))
    if parent is not None:
        cancelled += cancel_unfinished(desk, parent)
    report(wait_for_ends(desk, cancelled), as_json)
    return each.code()


def cancel_unfinished(desk: Desk, parent: str | None) -> list[str]:
    """Write the verdict on all unfinished tasks of a parent, or of all; which ones."""
    if not desk.exists:
        return []
    return desk.queue.cancel_all(desk.queue.unfinished(parent))


def wait_for_ends(desk: Desk, ids: Sequence[str]) -> list[Task]:
    """The cancelled tasks, once they are settled by whoever can: worker, supervisor or this process."""
    if not ids:
        return []
    waiting = Waiting(desk.queue, ids)

    def over() -> bool:
        waiting.look()
        return not waiting.open

    if not over():
        wait_until(desk, over, tend=lambda: settle_orphans(desk, waiting.open))
    return waiting.ended


def cancel_one(desk: Desk, id: str) -> bool:
    """Write the verdict on one task; False where it has ended, or is gone, meanwhile."""
    try:
        desk.queue.cancel(id)
    except (MoveNotAllowed, NotFound):
        return False
    return True


def _cancel(desk: Desk, id: str) -> str:
    """The same for a task that was named. Raises NotFound, MoveNotAllowed."""
    try:
        return desk.queue.cancel(id).id
    except MoveNotAllowed:  # another verdict was first; it, too, wants to be carried out
        settle_orphans(desk, [id])
        raise


def settle_orphans(desk: Desk, ids: Collection[str]) -> None:
    """End what is left of those among these tasks, and settle them: a verdict was written, somebody has to."""
    if holder(desk.home.lock("supervisor")) is not None:
        return
    from ...pool.recovery import is_dead, rescue_all

    running = [one for one in ProcessTable(desk.database).running() if one.id in ids]
    if any(is_dead(one) for one in running):
        rescue_all(desk.home)


def settled(desk: Desk, task: Task) -> Task:
    """The task; where nobody lives who would carry the verdict out, this process has."""
    if not task.stopping:
        return task
    settle_orphans(desk, [task.id])
    return desk.queue.get(task.id)
