"""`salvage`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json, say


@click.command("salvage", short_help="Save a damaged database.", epilog=example("down --now", "salvage"))
@json_option
@click.pass_obj
def command(desk: Desk, as_json: bool) -> None:
    """Set a damaged database aside, and put all that can be read of it into a fresh one. Nobody may have it open.

    The damaged file is kept. What was running is an error (lost).
    """
    from ....ipc.store.sqlite.backup import salvage

    saved = salvage(desk.home)
    if as_json:
        print_json({**asdict(saved), "aside": str(saved.aside)})
        return
    print(f"saved {saved.tasks} tasks and {saved.events} events ({saved.lost} lost their work)")
    say(f"the damaged database is kept in {saved.aside}")
