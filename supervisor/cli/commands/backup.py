"""`backup`, `restore`, `salvage`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ..context import Desk
from ..options import example, json_option, print_json, say

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("backup", short_help="Copy the database into a file.", epilog=example("backup ~/backburner.bak"))
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace FILE.")
@json_option
@click.pass_obj
def backup_command(desk: Desk, file: Path, force: bool, as_json: bool) -> None:
    """Copy all tasks and events, as they are at this moment, into FILE; nobody has to wait meanwhile.

    The copy is checked before it gets its name. What is in files beside the database (outputs of more than 64 KiB,
    and what --stdin copied) is not in it.
    """
    from ....ipc.store.sqlite.backup import back_up

    _ = desk.tasks
    size = back_up(desk.database, file, replacing=force)
    if as_json:
        print_json({"file": str(file.absolute()), "bytes": size})
    else:
        print(f"backed up to {file} ({size} bytes, checked)")


@click.command("restore", short_help="Put a backup back.", epilog=example("down", "restore --yes ~/backburner.bak"))
@click.argument("file", type=FILE)
@click.option("--yes", is_flag=True, help="Replace the tasks that there are.")
@json_option
@click.pass_obj
def restore_command(desk: Desk, file: Path, yes: bool, as_json: bool) -> None:
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


@click.command("salvage", short_help="Save a damaged database.", epilog=example("down --now", "salvage"))
@json_option
@click.pass_obj
def salvage_command(desk: Desk, as_json: bool) -> None:
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
