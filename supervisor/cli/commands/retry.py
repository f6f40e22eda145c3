"""`retry`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ....ipc.errors import BackburnerError
from ....ipc.model.cause import cause
from ....ipc.model.task import TaskStatus
from ..autostart import UP_HELP, ensure_supervisor
from ..context import Context
from ..options import Output, PerTask, ended_ids, example, ids_argument, json_option, require_selection
from ..printing import note, print_statuses
from ..text import short_id


@click.command(
    "retry",
    epilog=example(
        "retry 1a2b3c4d", Output("1a2b3c4d pending"), "retry --failed", "launch --like 1a2b3c4d --timeout 1h"
    ),
)
@ids_argument
@click.option("--failed", is_flag=True, help="Retry all tasks that failed. Cancelled tasks are left.")
@click.option("--up/--no-up", default=None, help=UP_HELP)
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], failed: bool, up: bool | None, as_json: bool) -> int:
    """Queue failed or cancelled tasks again.

    The tasks keep their IDs, and the count of their attempts continues. A task waits for its dependencies again. It
    fails at once if one of them has failed and is not retried before or with it. If no supervisor is running, one is
    started in the background.

    To run a task again with changes, for example a longer timeout, launch a copy: backburner launch --like ID
    """
    require_selection(ids, failed, "--failed")
    selected = ended_ids(context, [TaskStatus.ERROR]) if failed else ids
    if failed and not selected:
        note("no task has failed")
    per_task = PerTask(context)
    retried = per_task.run(_dependencies_first(context, selected), lambda id: context.queue.retry(id))
    print_statuses(retried, as_json)
    for task in retried:
        if task.error_kind == "dependency":
            note(f"{short_id(task.id)} failed again: {cause(task)}; retry both tasks together")
    sys.stdout.flush()
    if retried:
        ensure_supervisor(context, up)
    return per_task.report_errors()


def _dependencies_first(context: Context, ids: Sequence[str]) -> Sequence[str]:
    """Return the tasks in an order in which each one comes after its dependencies."""
    if len(ids) < 2:
        return ids
    from graphlib import TopologicalSorter

    full = {_full_id(context, id): id for id in ids}
    after = {task.id: [id for id in task.after if id in full] for task in context.tasks.existing(full)}
    return [full[id] for id in TopologicalSorter({id: after.get(id, []) for id in full}).static_order()]


def _full_id(context: Context, id: str) -> str:
    """Return the full ID, or the text itself if it names no task: its error is reported later, with the others."""
    try:
        return context.resolve_id(id)
    except BackburnerError:
        return id
