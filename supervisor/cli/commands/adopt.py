"""`adopt`."""

from __future__ import annotations

import click

from ..context import Context
from ..options import Output, example, json_option
from ..printing import print_json
from ..text import count_of


@click.command(
    "adopt",
    epilog=example("adopt --from ses-1 --to ses-2", Output("ses-2 took over 0 tasks and 1 notification from ses-1")),
)
@click.option("--from", "parent", metavar="SESSION", required=True, help="The session that has ended.")
@click.option("--to", "successor", metavar="SESSION", required=True, help="The session that continues its work.")
@json_option
@click.pass_obj
def command(context: Context, parent: str, successor: str, as_json: bool) -> None:
    """Hand a session's tasks and notifications over to another session.

    The unfinished tasks of the old session and its unread notifications now belong to the new one.
    So do tasks that are launched for the old session later.
    """
    from ....ipc.store.sessions import adopt

    adopted = adopt(context.store, parent, successor)
    if as_json:
        print_json({"tasks": adopted.tasks, "notices": adopted.notices})
    else:
        tasks, notifications = count_of(adopted.tasks, "task"), count_of(adopted.notices, "notification")
        print(f"{successor} took over {tasks} and {notifications} from {parent}")
