"""What `pause`, `resume` and `limit` share."""

from __future__ import annotations

import click

from ...ipc.store.groups import Group, Groups
from ...ipc.validation import Text
from .context import Desk
from .printing import print_json

#: What a key may be.
KEY = Text(max_bytes=1024, non_empty=True)


def checked(_ctx: click.Context, _param: click.Parameter, key: str) -> str:
    """The key, if it is one."""
    return KEY.check(key, "KEY")


def groups(desk: Desk) -> Groups:
    """The groups of the home."""
    return Groups(desk.database, desk.config)


def tell(desk: Desk, name: str, as_json: bool) -> None:
    """How a group is now."""
    book = groups(desk)
    limit = book.limits().limit(name)
    group = next((one for one in book.all() if one.name == name), Group(name, limit, 0, 0, False))
    if as_json:
        names = {"key": group.name, "limit": group.limit, "running": group.running}
        print_json(names | {"pending": group.pending, "paused": group.paused})
        return
    most = f"at most {group.limit} at once" if group.limit else "no limit of its own"
    state = "paused, " if group.paused else ""
    print(f"{group.name}: {state}{most}; {group.running} running, {group.pending} pending")
