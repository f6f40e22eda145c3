"""`backup`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_json


@click.command(
    "backup",
    epilog=example(
        "backup ~/backburner.bak",
        Output("backed up to /home/me/backburner.bak (221184 bytes, checked)"),
        "restore ~/backburner.bak",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@click.pass_obj
def command(context: Context, file: Path, force: bool, as_json: bool) -> None:
    """Back up the database to a file.

    Tasks can keep running. The copy is checked before it is named FILE. It does not contain outputs larger than
    64 KiB or copies made for --stdin, which are separate files.
    """
    from ....ipc.store import back_up

    _ = context.tasks  # there must be something to copy
    size = back_up(context.store, file, replacing=force)
    if as_json:
        print_json({"file": str(file.absolute()), "bytes": size})
    else:
        print(f"backed up to {file} ({size} bytes, checked)")
