"""`import`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ....ipc.api.maintenance import Maintenance
from ....ipc.errors import InvalidInput
from ..context import Context
from ..options import example, json_option
from ..printing import print_json
from ..text import count_of


@click.command("import", epilog=example("import tasks.json"))
@click.argument("file", type=click.File("rb"))
@json_option
@click.pass_obj
def command(context: Context, file: Any, as_json: bool) -> None:
    """Add the tasks of an exported FILE.

    FILE was written by `backburner export`, or is a background-manager.json; - reads stdin. Tasks that exist
    already are skipped.
    """
    try:
        document = json.loads(file.read())  # of bytes, it passes over a byte order mark
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.name} is not valid JSON ({error})", field="FILE") from None
    loaded = Maintenance(context.store, context.valid_config).load(document)
    if as_json:
        print_json(asdict(loaded))
    else:
        print(f"imported {count_of(loaded.added, 'task')}, skipped {loaded.skipped}")
