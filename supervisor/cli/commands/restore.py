"""`restore`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("restore", short_help="Put a backup back.", epilog=example("down", "restore --yes ~/backburner.bak"))
@click.argument("file", type=FILE)
@click.option("--yes", is_flag=True, help="Replace the tasks that there are.")
@json_option
@click.pass_obj
def command(desk: Desk, file: Path, yes: bool, as_json: bool) -> None:
    """Have the home hold what FILE, a backup, holds. Nothing of the home may run.

    What was running when FILE was made is an error (lost); what was pending will run. No number of an event is given
    again.
    """
    from ....ipc.store.sqlite.backup import restore

    lost = restore(desk.home, file, replacing=yes)
    if as_json:
        print_json({"file": str(file.absolute()), "lost": lost})
    else:
        print(f"restored from {file}" + (f"; {lost} were running in it: error (lost)" if lost else ""))
