"""`import`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ....ipc.api.maintenance import Archive
from ....ipc.errors import InvalidInput
from ..context import Desk
from ..options import example, json_option
from ..printing import print_counts

if TYPE_CHECKING:
    from ....ipc.api.maintenance import Archive


@click.command("import", short_help="Read what export wrote.", epilog=example("import tasks.json"))
@click.argument("file", type=click.File("rb"))
@json_option
@click.pass_obj
def command(desk: Desk, file: Any, as_json: bool) -> None:
    """Read what export wrote, or a background-manager.json of the seed; - for stdin."""
    try:
        document = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.name} is no JSON ({error}).", field="FILE") from None
    print_counts("imported", Archive(desk.database, desk.sound_config).load(document), as_json)
