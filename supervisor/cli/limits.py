"""The parts that `pause`, `resume` and `limit` share."""

from __future__ import annotations

import click

from ...ipc.store.groups import Groups
from ...ipc.store.status import key_document
from ...ipc.store.values import Group
from ...ipc.validation import Text
from .context import Context
from .options import Command
from .printing import print_json

#: The valid keys.
KEY = Text(max_bytes=1024, non_empty=True)


def key_argument(command: Command) -> Command:
    """Add a key, or a pattern of keys."""
    return click.argument("key", callback=_check_key)(command)


def limit_groups(context: Context) -> Groups:
    """Return the limit groups of the home, which is created if it is missing."""
    return Groups(context.store, context.config)


def print_group(context: Context, name: str, as_json: bool) -> None:
    """Print a limit group with its limit and its numbers of running and pending tasks."""
    write_group(limit_groups(context).row(name), as_json)


def write_group(group: Group, as_json: bool) -> None:
    """Print a limit group."""
    if as_json:
        print_json(key_document(group))
        return
    limited = f"at most {group.limit} at once" if group.limit else "unlimited (0 means no limit)"
    state = "paused, " if group.paused else ""
    print(f"{group.name}: {state}{limited}; {group.running} running, {group.pending} pending")


def _check_key(_ctx: click.Context, _param: click.Parameter, key: str) -> str:
    return KEY.check(key, "KEY")
