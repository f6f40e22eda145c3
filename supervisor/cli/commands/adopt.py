"""`adopt`."""

from __future__ import annotations

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json
from ..text import counted


@click.command("adopt", epilog=example("adopt --from ses-1 --to ses-2"))
@click.option("--from", "parent", metavar="P", required=True, help="The session that is no more.")
@click.option("--to", "successor", metavar="Q", required=True, help="The session that goes on.")
@json_option
@click.pass_obj
def command(desk: Desk, parent: str, successor: str, as_json: bool) -> None:
    """Have session Q be told of all that P still waits for; what is launched for P later is Q's as well."""
    from ....ipc.store.adoption import adopt

    adopted = adopt(desk.database, parent, successor)
    if as_json:
        print_json({"tasks": adopted.tasks, "notices": adopted.notices})
    else:
        print(
            f"{successor} has {counted(adopted.tasks, 'task')} of {parent}"
            f" and hears {counted(adopted.notices, 'notice')}"
        )
