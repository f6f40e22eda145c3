"""`limit`."""

from __future__ import annotations

from typing import Any

import click

from ..context import Desk
from ..limits import checked, groups, tell
from ..options import example, json_option

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


@click.command(
    "limit",
    short_help="At most so many tasks of a key at once.",
    epilog=example("limit opus 4", "limit 'anthropic/*' default"),
)
@click.argument("key", callback=checked)
@click.argument("most", metavar="N|default|unlimited", type=Most())
@json_option
@click.pass_obj
def command(desk: Desk, key: str, most: tuple[int | None], as_json: bool) -> None:
    """At most N tasks of KEY at once, kept over restarts; a surplus that runs goes on to its end."""
    tell(desk, groups(desk).limit(key, most[0]), as_json)
