"""`salvage`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..context import Context
from ..options import example, json_option
from ..printing import note, print_json
from ..text import count_of


@click.command("salvage", epilog=example("down --now", "salvage"))
@json_option
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """Recover a damaged database.

    Copies everything that can be read into a new database and keeps the damaged file. No process may have the
    database open. Tasks that were running end in error (lost).
    """
    from ....ipc.store import salvage

    salvaged = salvage(context.home)
    if as_json:
        print_json({**asdict(salvaged), "aside": str(salvaged.aside)})
        return
    lost = f"; {count_of(salvaged.lost, 'running task')} ended in error (lost)" if salvaged.lost else ""
    print(f"recovered {count_of(salvaged.tasks, 'task')} and {count_of(salvaged.events, 'event')}{lost}")
    note(f"the damaged database is kept in {salvaged.aside}")
    if salvaged.further_step:
        note(salvaged.further_step)
