"""Housekeeping: `prune`, `clear`, `export`, `import`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ....ipc.errors import InvalidInput
from ..context import Desk
from ..options import example, json_option, print_json

if TYPE_CHECKING:
    from ....ipc.api.maintenance import Archive, Cleared
    from ....ipc.store.importer import Loaded
    from ....ipc.store.retention import Pruned


@click.command("prune", short_help="Delete what is old.", epilog=example("prune"))
@json_option
@click.pass_obj
def prune_command(desk: Desk, as_json: bool) -> None:
    """Delete ended tasks and acknowledged events that are older than retention_days."""
    _tell("pruned", _archive(desk).prune() if desk.exists else None, as_json)


@click.command("clear", short_help="Cancel and delete everything.", epilog=example("clear --yes"))
@click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")
@json_option
@click.pass_obj
def clear_command(desk: Desk, yes: bool, as_json: bool) -> None:
    """Tell what waits, cancel everything, delete all tasks, events and cursors. A supervisor stays."""
    if not yes:
        raise click.UsageError(
            f"this cancels and deletes every task in {desk.home.folder}; if you mean it: clear --yes", _here()
        )
    _tell("cleared", _archive(desk).clear() if desk.exists else None, as_json)


@click.command(
    "export",
    short_help="Write all tasks as JSON.",
    epilog=example("export > tasks.json", "export --seed > background-manager.json"),
)
@click.option("--seed", is_flag=True, help="In the format of the seed's background-manager.json.")
@click.pass_obj
def export_command(desk: Desk, seed: bool) -> None:
    """Write all tasks as one JSON document to stdout, in UTF-8."""
    sys.stdout.flush()
    for piece in chain(_archive(desk).export(seed), "\n"):
        sys.stdout.buffer.write(piece.encode())


@click.command("import", short_help="Read what export wrote.", epilog=example("import tasks.json"))
@click.argument("file", type=click.File("rb"))
@json_option
@click.pass_obj
def import_command(desk: Desk, file: Any, as_json: bool) -> None:
    """Read what export wrote, or a background-manager.json of the seed; - for stdin."""
    try:
        document = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.name} is no JSON ({error}).", field="FILE") from None
    _tell("imported", _archive(desk).load(document), as_json)


def _archive(desk: Desk) -> Archive:
    from ....ipc.api.maintenance import Archive

    return Archive(desk.database, desk.sound_config)


def _tell(verb: str, counts: Pruned | Cleared | Loaded | None, as_json: bool) -> None:
    """How many of what."""
    found = {} if counts is None else asdict(counts)
    if as_json:
        print_json(found)
    else:
        print(f"{verb} {', '.join(f'{number} {name}' for name, number in found.items()) or 'nothing'}")


def _here() -> click.Context:
    return click.get_current_context()
