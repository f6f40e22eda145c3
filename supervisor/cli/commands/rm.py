"""`rm`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ....ipc.errors import MoveNotAllowed, NotFound
from ....ipc.model.task import TaskStatus
from ..context import Context
from ..options import Output, PerTask, ended_ids, example, ids_argument, json_option, require_selection
from ..printing import print_json
from ..text import count_of

#: The number of tasks that one transaction deletes.
STEP = 100


@click.command("rm", epilog=example("rm 1a2b3c4d", Output("deleted 1 task"), "rm --ended"))
@ids_argument
@click.option("--ended", is_flag=True, help="Delete all tasks that have ended.")
@json_option
@click.pass_obj
def command(context: Context, ids: Sequence[str], ended: bool, as_json: bool) -> int:
    """Delete ended tasks with their output.

    Their events stay in the log, and their ends are still notified. Running and pending tasks must be cancelled first.
    """
    require_selection(ids, ended, "--ended")
    per_task = PerTask(context)
    removed = per_task.run(ids, lambda id: context.queue.remove([id]))
    count = _remove_ended(context) if ended else len(removed)
    if as_json:
        print_json({"tasks": count})
    else:
        print(f"deleted {count_of(count, 'task')}")
    return per_task.report_errors()


def _remove_ended(context: Context) -> int:
    """Delete all ended tasks, some at a time. Return their number."""
    ids = ended_ids(context, [status for status in TaskStatus if status.ended])
    return sum(_remove(context, ids[start : start + STEP]) for start in range(0, len(ids), STEP))


def _remove(context: Context, ids: Sequence[str]) -> int:
    """Delete tasks. A task that was retried or deleted meanwhile is passed over."""
    try:
        context.queue.remove(ids)
    except (MoveNotAllowed, NotFound):
        return sum(_remove(context, [id]) for id in ids) if len(ids) > 1 else 0
    return len(ids)
