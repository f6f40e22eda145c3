"""`status`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ..context import Context
from ..options import Output, all_projects_option, example, json_option
from ..printing import note, print_json
from ..tables import FIXED, YELLOW, Cell, Column, Row, format_fields, format_table
from ..text import local_time, short_id

#: The columns of keys and of workers. On a narrow terminal the key is cut.
_KEY_HEAD = (Column("KEY", wanted=FIXED), *(Column(name, FIXED) for name in ("LIMIT", "RUNNING", "PENDING", "")))
_WORKER_HEAD = (
    Column("WORKER", FIXED),
    Column("KEY", wanted=FIXED),
    *(Column(name, FIXED) for name in ("SLOT", "TASK", "")),
)

_ROLES = {"flusher": "flusher", "forkServer": "fork server"}


@click.command(
    "status",
    epilog=example(
        "status",
        Output("home         /home/me/project/.backburner"),
        Output("supervisor   pid 7837, since 22:23:44"),
        Output("..."),
        Output("KEY    LIMIT  RUNNING  PENDING"),
        Output("build  2      1        0"),
        Output("..."),
        "status --all-projects",
    ),
)
@all_projects_option
@json_option
@click.pass_obj
def command(context: Context, all_projects: bool = False, as_json: bool = False) -> None:
    """Show running processes, limits and queue lengths.

    Exits with 0 whether a supervisor is running or not. With --all-projects, print one line
    for each of your state directories.
    """
    from ....ipc.store.status import blank, status

    if all_projects:
        _show_all(context, as_json)
        return
    document = status(context.store) if context.has_database else blank(context.home)
    if as_json:
        print_json(document)
    else:
        document["keys"] = [key for key in document["keys"] if not _is_unused_default(key, context)]
        sys.stdout.write(_format(document) + _format_shared(context.config.shared_limits))


def _is_unused_default(key: dict[str, Any], context: Context) -> bool:
    """Return True for an unchanged limit that comes with the program and has no tasks."""
    from ....ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
    from ....ipc.model.query import Filter

    name, limit = key["key"], key["limit"]
    if limit != DEFAULT_BACKGROUND_CONFIG.model_concurrency.get(name) or key["running"] or key["pending"]:
        return False
    is_default = context.config.model_concurrency.get(name) == limit and not key["paused"]
    return is_default and not context.tasks.list(Filter(key=name, limit=1)).tasks


def _local(time: str | None) -> str:
    """Return a time of the document in the local time zone."""
    from ....ipc import clock

    return local_time(clock.parse(time) / 1000) if time else "?"


def _show_all(context: Context, as_json: bool) -> None:
    from ....ipc.api.projects import Unreadable, each_home, project_name
    from ....ipc.store.status import status

    found = list(each_home(context.home, status))
    if as_json:
        documents = [
            {"home": str(one.home.folder), "error": one.error} if isinstance(one, Unreadable) else one[1]
            for one in found
        ]
        print_json(documents)
        return
    rows: list[Row] = []
    for one in found:
        if isinstance(one, Unreadable):
            note(f"{one.home.folder} was skipped: {one.error}")
        else:
            rows.append((project_name(one[0]), *_summary(one[1])))
    if rows:
        sys.stdout.write(format_table(("PROJECT", "SUPERVISOR", "RUNNING", "PENDING"), rows, sys.stdout))


def _summary(document: dict[str, Any]) -> Row:
    supervisor, keys = document["supervisor"], document["keys"]
    state = Cell(f"pid {supervisor['pid']}" if supervisor else "not running", "" if supervisor else YELLOW)
    return state, *(str(sum(key[name] for key in keys)) for name in ("running", "pending"))


def _format(document: dict[str, Any]) -> str:
    supervisor = document["supervisor"]
    state = f"pid {supervisor['pid']}, since {_local(supervisor['startedAt'])}" if supervisor else "not running"
    roles = [(label, f"pid {document[role]['pid']}" if document[role] else "-") for role, label in _ROLES.items()]
    from ....ipc.text.sizes import format_bytes

    fields = [("home", document["home"]), ("supervisor", state), *roles, ("socket", document["socket"])]
    fields += [("size", format_bytes(document["sizeBytes"])), *_problems(document)]
    processes = format_fields(fields, sys.stdout)
    keys = format_table(_KEY_HEAD, map(_key_row, document["keys"]), sys.stdout)
    workers = format_table(_WORKER_HEAD, map(_worker_row, document["workers"]), sys.stdout)
    tables = [table for rows, table in ((document["keys"], keys), (document["workers"], workers)) if rows]
    return "\n".join([processes, *tables])


def _format_shared(limits: Mapping[str, int]) -> str:
    """Return a table of the limits over all projects, or nothing if there are none."""
    if not limits:
        return ""
    from ....ipc.machine.shared_slots import count_taken

    taken = count_taken(limits)
    rows = [(pool, str(limits[pool]), str(taken[pool])) for pool in taken]
    return "\n" + format_table(("SHARED LIMIT", "LIMIT", "IN USE"), rows, sys.stdout)


def _problems(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what keeps the processes from working, with the command that repairs it."""
    if document["movedFrom"] is not None:
        yield "moved", f"the processes still use {document['movedFrom']}; run: backburner up --detach"
        return
    processes = [document["supervisor"], *(document[role] for role in _ROLES), *document["workers"]]
    others = {process["version"] for process in processes if process} - {None, document["version"]}
    if others:
        names = ", ".join(sorted(others))
        yield "version", f"processes run {names}, this program is {document['version']}; run: backburner restart"


def _key_row(key: dict[str, Any]) -> Row:
    limit = str(key["limit"]) if key["limit"] else "unlimited"
    paused = Cell("paused", YELLOW) if key["paused"] else ""
    return (key["key"], limit, str(key["running"]), str(key["pending"]), paused)


def _worker_row(worker: dict[str, Any]) -> Row:
    slot = "" if worker["slot"] is None else str(worker["slot"])
    task = short_id(worker["taskId"]) if worker["taskId"] else "idle"
    adopted = "adopted" if worker["adopted"] else ""
    return (str(worker["pid"]), worker["concurrencyKey"] or "", slot, task, adopted)
