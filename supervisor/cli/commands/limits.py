"""Limits by hand: `pause`, `resume`, `limit`."""

from __future__ import annotations

from typing import Any

import click

from ....ipc.store.groups import Group, Groups
from ....ipc.validation import Text
from ..context import Desk
from ..options import example, json_option, print_json

#: What a key may be.
KEY = Text(max_bytes=1024, non_empty=True)
#: The words that `limit` takes for numbers: 0 is no limit, None the configured one.
_WORDS = {"default": None, "unlimited": 0}


class Most(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A number of tasks, `default` or `unlimited`."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; None for `default`. Fails with a usage error."""
        if value in _WORDS:
            return (_WORDS[value],)
        if not (isinstance(value, str) and value.isascii() and value.isdigit()) or int(value) > 1_000_000:
            self.fail(f"{value!r} is no limit: a whole number up to 1000000, default or unlimited", param, ctx)
        return (int(value),)


def _checked(_ctx: click.Context, _param: click.Parameter, key: str) -> str:
    return KEY.check(key, "KEY")


@click.command("pause", short_help="Start no more tasks of a key.", epilog=example("pause opus"))
@click.argument("key", callback=_checked)
@json_option
@click.pass_obj
def pause_command(desk: Desk, key: str, as_json: bool) -> None:
    """Start no more tasks of KEY until resume; those that run go on. Kept over restarts."""
    _tell(desk, _groups(desk).pause(key, 1), as_json)


@click.command("resume", short_help="Start tasks of a key again.", epilog=example("resume opus"))
@click.argument("key", callback=_checked)
@json_option
@click.pass_obj
def resume_command(desk: Desk, key: str, as_json: bool) -> None:
    """Start tasks of KEY again."""
    _tell(desk, _groups(desk).pause(key, 0), as_json)


@click.command(
    "limit",
    short_help="At most so many tasks of a key at once.",
    epilog=example("limit opus 4", "limit 'anthropic/*' default"),
)
@click.argument("key", callback=_checked)
@click.argument("most", metavar="N|default|unlimited", type=Most())
@json_option
@click.pass_obj
def limit_command(desk: Desk, key: str, most: tuple[int | None], as_json: bool) -> None:
    """At most N tasks of KEY at once, kept over restarts; a surplus that runs goes on to its end."""
    _tell(desk, _groups(desk).limit(key, most[0]), as_json)


def _groups(desk: Desk) -> Groups:
    return Groups(desk.database, desk.config)


def _tell(desk: Desk, name: str, as_json: bool) -> None:
    """How a group is now."""
    groups = _groups(desk)
    limit = groups.limits().limit(name)
    group = next((one for one in groups.all() if one.name == name), Group(name, limit, 0, 0, False))
    if as_json:
        names = {"key": group.name, "limit": group.limit, "running": group.running}
        print_json(names | {"pending": group.pending, "paused": group.paused})
        return
    most = f"at most {group.limit} at once" if group.limit else "no limit of its own"
    state = "paused, " if group.paused else ""
    print(f"{group.name}: {state}{most}; {group.running} running, {group.pending} pending")
