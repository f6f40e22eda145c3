"""`limit`."""

from __future__ import annotations

import re
from typing import Any

import click

from ....ipc.config.limits import Limits
from ....ipc.store.values import Group
from ..context import Context
from ..limits import key_argument, limit_groups, print_group, write_group
from ..options import Output, example, json_option

#: The words that stand for a limit. 0 is unlimited, and None is the configured limit.
_WORDS = {"default": None, "unlimited": 0}
_LARGEST = 1_000_000

_NEGATIVE = re.compile(r"-\d[\d.]*", re.ASCII)


class LimitValue(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """A number of tasks, `default` or `unlimited`. It is a tuple, because click takes None for a missing value."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a tuple with the number, or with None for `default`. Raises BadParameter."""
        if value in _WORDS:
            return (_WORDS[value],)
        if not (isinstance(value, str) and value.isascii() and value.isdigit()) or int(value) > _LARGEST:
            self.fail(f"{value!r} is not a limit; use 0 to {_LARGEST}, 'default' or 'unlimited'", param, ctx)
        return (int(value),)


class LimitCommand(click.Command):
    """A command that takes a negative number for a limit that is out of range, and not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. Raises UsageError."""
        if any(_NEGATIVE.fullmatch(word) for word in args):
            raise click.UsageError("the limit is 0 or more; 0 means no limit, and to stop a key: backburner pause", ctx)
        return super().parse_args(ctx, args)


@click.command(
    "limit",
    cls=LimitCommand,
    epilog=example(
        "limit opus 4",
        Output("opus: at most 4 at once; 0 running, 0 pending"),
        "limit 'anthropic/*' default",
        Output("anthropic/*: at most 3 at once; 0 running, 0 pending"),
    ),
)
@key_argument
@click.argument("limit", metavar="[N|default|unlimited]", type=LimitValue(), required=False)
@json_option
@click.pass_obj
def command(context: Context, key: str, limit: tuple[int | None] | None, as_json: bool) -> None:
    """Set or show how many tasks of a key may run at once.

    Without a limit, print the limit in force. Those of all keys are in: backburner status. 0 means no limit. KEY may
    be a pattern. All keys that match share the limit. The limit is kept over restarts, and `default` restores the
    configured limit. Running tasks are never stopped to keep a limit.
    """
    if limit is not None:
        print_group(context, limit_groups(context).limit(key, limit[0]), as_json)
    elif context.has_database:
        print_group(context, limit_groups(context).limits().group(key), as_json)
    else:
        limits = Limits(context.config.default_concurrency, context.config.model_concurrency, {})
        write_group(Group(limits.group(key), limits.limit(limits.group(key)), 0, 0, False), as_json)
