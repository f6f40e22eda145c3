"""`progress`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from ..context import Context
from ..input.prompt import TextCommand
from ..options import TASK_VARIABLE, Output, example, json_option, resolve_own_id
from ..printing import print_task


@click.command(
    "progress", cls=TextCommand, epilog=example("progress 1a2b3c4d '3 of 12 pages'", Output("1a2b3c4d running"))
)
@click.argument("words", metavar="[ID] TEXT", nargs=-1)
@json_option
@click.pass_obj
def command(context: Context, words: Sequence[str], as_json: bool) -> None:
    """Record the progress of a running task.

    `list` and `show` display TEXT. Inside a task, ID is that task by default.
    """
    if len(words) not in (1, 2):
        raise click.UsageError("expected [ID] TEXT; quote a TEXT of several words", click.get_current_context())
    id = words[0] if len(words) == 2 else os.environ.get(TASK_VARIABLE)
    print_task(context.queue.progress(resolve_own_id(context, id), words[-1]), as_json)
