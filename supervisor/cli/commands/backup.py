"""`backup`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("backup", short_help="Copy the database into a file.", epilog=example("backup ~/backburner.bak"))
@click.argument("file", type=FILE)
@click.option("--force", is_flag=True, help="Replace FILE.")
@json_option
@click.pass_obj
def command(desk: Desk, file: Path, force: bool, as_json: bool) -> None:
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
