"""`listen`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import click

from ....ipc.machine.presence import Presence
from ....ipc.model.event import ALL_SESSIONS, DEFAULT_CONSUMER, TYPES
from ....ipc.store.log_reader import LogReader, start_of
from ..context import Context
from ..input.duration import WholeNumber
from ..options import example, session_from_environment
from ..printing import note, print_json_line
from ..tables import COLOURS, FAINT, Cell, paint, sanitize, uses_colours
from ..text import local_time, no_supervisor, short_id

Event = dict[str, Any]


@click.command(
    "listen",
    epilog=example("listen --parent ses-1 --ack", "listen --parent '*' --type background_tasks_batch"),
)
@click.option(
    "--parent",
    metavar="SESSION",
    help="Print the events of this session; '*' for all sessions."
    " [default: $BACKBURNER_PARENT, $CLAUDE_CODE_SESSION_ID, '*']",
)
@click.option(
    "--after",
    type=WholeNumber(0),
    metavar="SEQ",
    help="Begin after the event with this number."
    " [default: the last acknowledged event; for '*' the newest one, with --until-now the oldest one]",
)
@click.option("--consumer", metavar="NAME", help="Use this reader's cursor. [default: default]")
@click.option("--ack", is_flag=True, help="Acknowledge each event after printing it.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(TYPES),
    metavar="TYPE",
    help=f"Print only events of this type. Repeatable. Types: {', '.join(TYPES)}.",
)
@click.option("--until-now", is_flag=True, help="Print the events up to now and exit. Needs no supervisor.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines on a terminal, too.")
@click.pass_obj
def command(context: Context, /, parent: str | None, until_now: bool, as_json: bool, **filters: Any) -> None:
    """Print events as they happen.

    One event a line: JSON, or text on a terminal. Waits until a supervisor is running, and continues with
    the next event after a restart.
    """
    ctx = click.get_current_context()
    if parent == "":
        raise click.UsageError("--parent must not be empty; '*' stands for all sessions", ctx)
    parent = parent or session_from_environment() or ALL_SESSIONS
    if parent == ALL_SESSIONS and filters["ack"]:
        raise click.UsageError("--ack needs one session; name it with --parent SESSION", ctx)
    print_event = print_json_line if as_json or not sys.stdout.isatty() else _print_line
    for event in (_read_log if until_now else _subscribe)(context, parent, filters):
        print_event(event)


def _subscribe(context: Context, parent: str, filters: dict[str, Any]) -> Iterator[Event]:
    from ....ipc.bus.client import Client

    if not Presence(context.home).is_held("flusher"):
        note(f"waiting: {no_supervisor(context)}")
    types: Sequence[str] | None = filters["types"] or None
    with Client(context.home) as client:
        for event in client.events(parent, filters["after"], types, filters["consumer"], filters["ack"]):
            yield event.to_json()


def _read_log(context: Context, parent: str, filters: dict[str, Any]) -> Iterator[Event]:
    """Yield the events that are in the database now, as the bus would send them."""
    if not context.has_database:
        return
    log, consumer = context.store.events, filters["consumer"] or DEFAULT_CONSUMER
    last = log.last_seq()
    after = 0 if parent == ALL_SESSIONS and filters["after"] is None else filters["after"]
    reader = LogReader(log, parent, start_of(log, parent, consumer, after))
    for event in takewhile(lambda event: event.seq <= last, reader.events()):
        if not filters["types"] or event.type in filters["types"]:
            yield event.to_json()
            if filters["ack"]:
                log.acknowledge(parent, consumer, event.seq)


def _print_line(event: Event) -> None:
    from ....ipc import clock

    colours = uses_colours(sys.stdout)
    time = paint(Cell(local_time(clock.parse(event["at"]) / 1000), FAINT), colours)
    text = Cell(sanitize(_describe(event)), COLOURS.get(event.get("status", ""), ""))
    print(f"{time}  {paint(text, colours)}", flush=True)


def _describe(event: Event) -> str:
    """Return an event in one line."""
    task = short_id(event.get("taskId", ""))
    match event["type"]:
        case "background_task_started":
            return f"{task} started" + (f", attempt {event['attempt']}" if event["attempt"] > 1 else "")
        case "background_task_completed":
            return f"{task} {event['status']}" + (f": {event['error']}" if event["error"] else "")
        case "background_task_retrying":
            return f"{task} attempt {event['attempt']} failed, retrying: {event['error'] or event['errorKind']}"
        case "background_task_stale" | "background_task_progress" | "background_task_changed":
            return f"{task} {_activity(event)}"
        case "background_tasks_batch":
            return f"{event['message']}{' All tasks have ended.' if event['allComplete'] else ''}"
    return f"events before {event['firstSeq']} were deleted"


def _activity(event: Event) -> str:
    if event["type"] == "background_task_changed":
        return f"changed: {', '.join(event['fields'])}"
    return event.get("progress") or f"has shown no activity for {event['idleMs'] // 1000} s"
