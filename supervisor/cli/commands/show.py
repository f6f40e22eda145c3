"""`show`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..context import Desk
from ..options import example, id_argument, json_option
from ..printing import print_json, say
from ..tables import Cell, fields, status_cell


@click.command("show", epilog=example("show 1a2b3c4d", "show --json -"))
@id_argument
@json_option
@click.pass_obj
def command(desk: Desk, id: str, as_json: bool) -> None:
    """Everything about one task. ID may be a part from its start, or - for the last one launched."""
    from ..text import hint

    task = desk.tasks.get(desk.find(id))
    if as_json:
        print_json(task.to_json())
        return
    pairs = ((name, _field(name, value)) for name, value in task.to_json().items() if value not in (None, [], {}))
    sys.stdout.write(fields(pairs, sys.stdout))
    if sys.stderr.isatty() and (why := hint(task, desk)):
        say(why)


def _field(name: str, value: Any) -> Cell | str:
    import json

    if name == "status":
        return status_cell(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
