"""`listen`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ....ipc.machine.presence import Presence
from ....ipc.model.event import TYPES, Event
from ....ipc.store.events import EventLog
from ..context import Desk
from ..options import example, own_parent
from ..printing import print_json_line, say
from ..tables import COLOURS, FAINT, Cell, clean, coloured, paint
from ..text import hour, no_supervisor, short

EVERYONE = "*"


#: Events that are read from the log at a time.
PAGE = 500


@click.command(
    "listen",
    short_help="Print events as they come.",
    epilog=example("listen --parent ses-1 --ack", "listen --parent '*' --type background_tasks_batch"),
)
@click.option("--parent", metavar="P", help="Whose events; '*' for all. [default: as for launch]")
@click.option(
    "--after",
    type=click.IntRange(0),
    metavar="SEQ",
    help="Those after this number. [default: what was not acknowledged]",
)
@click.option("--consumer", metavar="NAME", help="Whose cursor counts. [default: default]")
@click.option("--ack", is_flag=True, help="Acknowledge each event once it is printed.")
@click.option("--type", "types", multiple=True, type=click.Choice(TYPES), metavar="T", help="Only events of this type.")
@click.option("--until-now", is_flag=True, help="End when all that has happened by now is told; needs no supervisor.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on a terminal, too.")
@click.pass_obj
def command(desk: Desk, /, parent: str | None, until_now: bool, as_json: bool, **which: Any) -> None:
    """Print events as they come, one a line; waits for the bus, goes on after a break where it was."""
    parent = parent or own_parent()
    here = click.get_current_context()
    if not parent:
        raise click.UsageError("Missing option '--parent' ('*' for all)", here)
    if parent == EVERYONE and which["ack"]:
        raise click.UsageError("--ack is for one parent's events, not for '*'", here)
    tell = print_json_line if as_json or not sys.stdout.isatty() else _print_readable
    events = _so_far(desk, parent, which) if until_now else _live(desk, parent, which)
    for event in events:
        tell(event)


def _live(desk: Desk, parent: str, which: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from ....ipc.bus.client import Client

    if not Presence(desk.home).is_held("flusher"):
        say(f"waiting: {no_supervisor(desk)}")
    types: Sequence[str] | None = which["types"] or None
    with Client(desk.home) as client:
        for event in client.events(parent, which["after"], types, which["consumer"], which["ack"]):
            yield _document(event)


def _document(event: Event) -> dict[str, Any]:
    return event.to_json()


def _so_far(desk: Desk, parent: str, which: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the log holds now, read from the database: the bus would tell the same."""
    if not desk.exists:
        return
    log, consumer = EventLog(desk.database), which["consumer"] or "default"
    last = log.last_seq()
    cursor = _start(log, parent, consumer, which["after"])
    concerned = None if parent == EVERYONE else parent
    first = _first_kept(log, concerned, cursor)
    if first is not None:
        cursor = max(cursor, first - 1) if cursor <= last else first - 1
        yield from _wanted([_truncated(concerned, first)], which["types"])
    while lines := [line for line in log.read(concerned, cursor, PAGE) if line.seq <= last]:
        for event in _wanted([json.loads(line.text) for line in lines], which["types"]):
            yield event
            if which["ack"]:
                log.acknowledge(parent, consumer, event["seq"])
        cursor = lines[-1].seq


def _first_kept(log: EventLog, concerned: str | None, cursor: int) -> int | None:
    """The number from which on there is something, where a reader has missed what was before."""
    if cursor > log.last_seq():  # a number of another log: all of this one is new
        return log.truncated(concerned, 0) or 1
    return log.truncated(concerned, cursor)


def _start(log: EventLog, parent: str, consumer: str, after: int | None) -> int:
    if after is not None:
        return after
    return log.last_seq() if parent == EVERYONE else log.cursor(parent, consumer)


def _truncated(parent: str | None, first: int) -> dict[str, Any]:
    from ....ipc import clock

    return {
        "seq": first - 1,
        "type": "log_truncated",
        "at": clock.iso(clock.now()),
        "parentSessionId": parent,
        "firstSeq": first,
    }


def _wanted(events: list[dict[str, Any]], types: Sequence[str]) -> list[dict[str, Any]]:
    return [event for event in events if not types or event["type"] in types]


def _print_readable(event: dict[str, Any]) -> None:
    from ....ipc import clock

    painted = coloured(sys.stdout)
    at = paint(Cell(hour(clock.parse(event["at"]) / 1000), FAINT), painted)
    print(f"{at}  {paint(Cell(clean(_words(event)), _colour(event)), painted)}", flush=True)


def _colour(event: dict[str, Any]) -> str:
    return COLOURS.get(event.get("status", ""), "")


def _sign_of_life(event: dict[str, Any]) -> str:
    return event.get("progress") or f"gave no sign of life for {event['idleMs'] // 1000} s"


def _words(event: dict[str, Any]) -> str:
    """An event in a line."""
    task = short(event.get("taskId", ""))
    match event["type"]:
        case "background_task_started":
            return f"{task} started" + (f", attempt {event['attempt']}" if event["attempt"] > 1 else "")
        case "background_task_completed":
            return f"{task} {event['status']}" + (f": {event['error']}" if event["error"] else "")
        case "background_task_retrying":
            why = event["error"] or event["errorKind"]
            return f"{task} will be tried again after attempt {event['attempt']}: {why}"
        case "background_task_stale" | "background_task_progress":
            return f"{task} {_sign_of_life(event)}"
        case "background_tasks_batch":
            return f"{event['message']}{' All are done.' if event['allComplete'] else ''}"
    return f"events before {event['firstSeq']} are no longer kept"
