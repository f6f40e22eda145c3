"""`limit`."""

from __future__ import annotations

from typing import Any

import click

from ..context import Context
from ..limits import key_argument, limit_groups, print_group
from ..options import example, json_option

#: The words that stand for a limit. 0 is unlimited, and None is the configured limit.
_WORDS = {"default": None, "unlimited": 0}
_LARGEST = 1_000_000


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


@click.command("limit", epilog=example("limit opus 4", "limit 'anthropic/*' default"))
@key_argument
@click.argument("limit", metavar="N|default|unlimited", type=LimitValue())
@json_option
@click.pass_obj
def command(context: Context, key: str, limit: tuple[int | None], as_json: bool) -> None:
    """Set how many tasks of a key may run at once.

    KEY may be a pattern. All keys that match share the limit. The limit is kept over restarts, and `default`
    restores the configured limit. Running tasks are never stopped to keep a limit.
    """
    print_group(context, limit_groups(context).limit(key, limit[0]), as_json)
