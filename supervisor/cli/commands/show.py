"""`show`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..context import Context
from ..options import example, id_argument, json_option
from ..printing import note, print_json
from ..tables import Cell, format_fields, status_cell


@click.command("show", epilog=example("show 1a2b3c4d", "show --json -"))
@id_argument
@json_option
@click.pass_obj
def command(context: Context, id: str, as_json: bool) -> None:
    """Show all fields of a task.

    ID may be shortened to any unique prefix; - is the last task launched.
    """
    from ..text import explain_pending

    task = context.tasks.get(context.resolve_id(id))
    if as_json:
        print_json(task.to_json())
        return
    pairs = ((name, _cell(name, value)) for name, value in task.to_json().items() if value not in (None, [], {}))
    sys.stdout.write(format_fields(pairs, sys.stdout))
    if sys.stderr.isatty() and (explanation := explain_pending(task, context)):
        note(explanation)


def _cell(name: str, value: Any) -> Cell | str:
    if name == "status":
        return status_cell(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
