"""`status`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..context import Desk
from ..options import example, json_option
from ..printing import print_json
from ..tables import Cell, Row, fields, table
from ..text import short


@click.command("status", short_help="Who runs what.", epilog=example("status"))
@json_option
@click.pass_obj
def command(desk: Desk, as_json: bool = False) -> None:
    """Who runs what: the processes, and per limit group its limit and what runs and waits."""
    from ....ipc.store.status import blank, status

    found = status(desk.database, desk.config) if desk.exists else blank(desk.home)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(_status_text(found))


def _status_text(found: dict[str, Any]) -> str:
    supervisor = found["supervisor"]
    runs = f"pid {supervisor['pid']}, since {supervisor['startedAt'] or '?'}" if supervisor else "none is running"
    others = {
        label: f"pid {found[role]['pid']}" if found[role] else "-"
        for role, label in {"flusher": "flusher", "forkServer": "fork server"}.items()
    }
    about = fields(
        [("home", found["home"]), ("supervisor", runs), *others.items(), ("socket", found["socket"])],
        sys.stdout,
    )
    keys = table(("KEY", "LIMIT", "RUNNING", "PENDING", ""), map(_key_row, found["keys"]), sys.stdout)
    workers = table(("WORKER", "KEY", "SLOT", "TASK", ""), map(_worker_row, found["workers"]), sys.stdout)
    tables = [text for rows, text in ((found["keys"], keys), (found["workers"], workers)) if rows]
    return "\n".join([about, *tables])


def _key_row(key: dict[str, Any]) -> Row:
    limit = str(key["limit"]) if key["limit"] else "unlimited"
    paused = Cell("paused", "33") if key["paused"] else ""
    return (key["key"], limit, str(key["running"]), str(key["pending"]), paused)


def _worker_row(worker: dict[str, Any]) -> Row:
    slot = "" if worker["slot"] is None else str(worker["slot"])
    task = short(worker["taskId"]) if worker["taskId"] else "idle"
    adopted = "adopted" if worker["adopted"] else ""
    return (str(worker["pid"]), worker["concurrencyKey"] or "", slot, task, adopted)
