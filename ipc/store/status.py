"""Who runs what, as one document, for the command line and the socket, with and without a supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import clock
from ..config.settings import BackgroundConfig
from ..home import Home
from ..machine.distribution import version
from .events import EventLog
from .groups import Group, Groups
from .processes import Process, ProcessTable, Running
from .sqlite.database import Database, sqlite_version

Document = dict[str, Any]

#: The processes of a home of which there is one each: their names in the document, and their locks.
ROLES = {"supervisor": "supervisor", "flusher": "flusher", "forkServer": "forkserver"}


def status(database: Database, config: BackgroundConfig) -> Document:
    """The status of a home, in the shape of `status --json`."""
    log = EventLog(database)
    return blank(database.home) | {
        **_roles(database),
        "workers": _workers(ProcessTable(database)),
        "keys": [_key(group) for group in Groups(database, config).all()],
        "log": {"id": log.id(), "lastSeq": log.last_seq(), "unbatched": log.count_unbatched()},
    }


def blank(home: Home) -> Document:
    """The status of a home in which nothing was ever launched."""
    return {
        "supervisor": None,
        "flusher": None,
        "forkServer": None,
        "workers": [],
        "keys": [],
        "log": {"id": None, "lastSeq": 0, "unbatched": 0},
        "home": str(home.folder),
        "socket": home.bus,
        "version": version(),
        "sqlite": sqlite_version(),
    }


def _roles(database: Database) -> Document:
    table = ProcessTable(database)
    living = {name: table.presence.holder(role) for name, role in ROLES.items()}
    roles: Document = {name: None if pid is None else {"pid": pid} for name, pid in living.items()}
    if living["supervisor"] is not None:
        roles["supervisor"]["startedAt"] = _started_at(table, living["supervisor"])
    return roles


def _started_at(registry: ProcessTable, pid: int) -> str | None:
    since = registry.started_at("supervisor", pid)
    return None if since is None else clock.iso(since)


def _workers(registry: ProcessTable) -> list[Document]:
    """The living workers, those with a task first."""
    busy = {one.owner.number: one for one in registry.running() if one.owner is not None}
    living = [one for one in registry.processes("worker") if not registry.presence.is_dead(one.identity)]
    since = _supervised_since(registry)
    return sorted((_worker(one, busy, registry, since) for one in living), key=_place)


def _supervised_since(registry: ProcessTable) -> int:
    pid = registry.presence.holder("supervisor")
    since = None if pid is None else registry.started_at("supervisor", pid)
    return since or 0


def _worker(worker: Process, busy: Mapping[int, Running], registry: ProcessTable, since: int) -> Document:
    pid = worker.identity.pid
    running = busy.get(worker.number)
    return {
        "pid": pid,
        "concurrencyKey": running.key if running else None,
        "slot": running.slot.number if running else None,
        "taskId": running.id if running else None,
        "adopted": (registry.started_at("worker", pid) or since) < since,
    }


def _place(worker: Document) -> tuple[bool, str, int]:
    return worker["taskId"] is None, worker["concurrencyKey"] or "", worker["slot"] or 0


def _key(group: Group) -> Document:
    return {
        "key": group.name,
        "limit": group.limit,
        "running": group.running,
        "pending": group.pending,
        "paused": group.paused,
    }
