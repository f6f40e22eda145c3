"""`restore`."""

from __future__ import annotations

from pathlib import Path

import click

from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_json
from ..text import count_of


@click.command(
    "restore", epilog=example("down", "restore --yes ~/backburner.bak", Output("restored from /home/me/backburner.bak"))
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Replace existing tasks.")
@json_option
@click.pass_obj
def command(context: Context, file: Path, yes: bool, as_json: bool) -> None:
    """Replace the database by a backup.

    No supervisor and no task may be running. Tasks that were running when FILE was written end in error (lost);
    pending ones will run. Event numbers are never used twice.
    """
    from ....ipc.store import restore

    lost = restore(context.home, file, replacing=yes)
    if as_json:
        print_json({"file": str(file.absolute()), "lost": lost})
    else:
        running = f"; {count_of(lost, 'running task')} ended in error (lost)" if lost else ""
        print(f"restored from {file}{running}")
