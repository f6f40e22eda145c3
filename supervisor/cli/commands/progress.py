"""`progress`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from ..context import Desk
from ..options import OWN_TASK, example, json_option, own_task
from ..printing import print_task


@click.command("progress", epilog=example("progress 1a2b3c4d '3 of 12 pages'"))
@click.argument("words", metavar="[ID] TEXT", nargs=-1)
@json_option
@click.pass_obj
def command(desk: Desk, words: Sequence[str], as_json: bool) -> None:
    """Note how far a running task is. Within a task, ID is its own and may be left out."""
    if len(words) not in (1, 2):
        raise click.UsageError("progress takes an ID and one TEXT (quote it)", click.get_current_context())
    own = os.environ.get(OWN_TASK)
    task = desk.queue.progress(own_task(desk, words[0] if len(words) == 2 else own), words[-1])
    print_task(task, as_json)
