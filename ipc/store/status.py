"""The status document: running processes, limits and queue lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import clock
from ..home import Home
from ..machine import proc
from ..machine.distribution import version
from ..machine.presence import Presence
from . import engine_version
from .values import Group, Process, Running

if TYPE_CHECKING:
    from .interface import Store

Document = dict[str, Any]

#: The roles with one process each: their names in the document, and their locks.
ROLES = {"supervisor": "supervisor", "flusher": "flusher", "forkServer": "forkserver"}


def status(store: Store) -> Document:
    """Return the status of a home, as `status --json` prints it."""
    events = store.events
    return blank(store.home) | {
        **_roles(store),
        "workers": _workers(store),
        "keys": [key_document(group) for group in store.limits.groups()],
        "log": {"id": events.id(), "lastSeq": events.last_seq(), "unbatched": events.count_unbatched()},
    }


def blank(home: Home) -> Document:
    """Return the status of a home in which nothing was ever launched."""
    return {
        "supervisor": None,
        "flusher": None,
        "forkServer": None,
        "workers": [],
        "keys": [],
        "log": {"id": None, "lastSeq": 0, "unbatched": 0},
        "home": str(home.folder),
        "movedFrom": None,
        "sizeBytes": home.size(),
        "socket": home.bus,
        "version": version(),
        "sqlite": engine_version(),
    }


def _roles(store: Store) -> Document:
    presence = Presence(store.home)
    roles: Document = {}
    for name, role in ROLES.items():
        pid = presence.holder(role)
        roles[name] = None if pid is None else {"pid": pid, "version": presence.version(role)}
    if roles["supervisor"] is not None:
        roles["supervisor"]["startedAt"] = _started_at(store, roles["supervisor"]["pid"])
    moved = (presence.moved_from(role) for role in ROLES.values())
    return roles | {"movedFrom": next((path for path in moved if path is not None), None)}


def _started_at(store: Store, pid: int) -> str | None:
    since = store.hosts.started_at("supervisor", pid)
    return None if since is None else clock.iso(since)


def _workers(store: Store) -> list[Document]:
    """Return the living workers. Workers with a task come first."""
    busy = {running.owner.number: running for running in store.hosts.running() if running.owner is not None}
    presence = Presence(store.home)
    versions = _fork_server_versions(store.home)
    living = [worker for worker in store.hosts.processes("worker") if not presence.is_dead(worker.identity)]
    since = _supervised_since(store)
    documents = [_worker(worker, busy, store, since) for worker in living]
    for document in documents:
        document["version"] = versions.get(proc.parent(document["pid"]))
    return sorted(documents, key=_sort_key)


def _fork_server_versions(home: Home) -> dict[int | None, str | None]:
    """Return the version of each fork server, also of one that has made room for another. Its workers have it, too."""
    presence = Presence(home)
    names = ["forkserver", *(path.stem for path in home.folder.glob("forkserver-*.lock"))]
    return {presence.holder(name): presence.version(name) for name in names}


def _supervised_since(store: Store) -> int:
    pid = Presence(store.home).holder("supervisor")
    since = None if pid is None else store.hosts.started_at("supervisor", pid)
    return since or 0


def _worker(worker: Process, busy: Mapping[int, Running], store: Store, since: int) -> Document:
    pid = worker.identity.pid
    running = busy.get(worker.number)
    return {
        "pid": pid,
        "concurrencyKey": running.key if running else None,
        "slot": running.slot.number if running else None,
        "taskId": running.id if running else None,
        "adopted": (store.hosts.started_at("worker", pid) or since) < since,
    }


def _sort_key(worker: Document) -> tuple[bool, str, int]:
    return worker["taskId"] is None, worker["concurrencyKey"] or "", worker["slot"] or 0


def key_document(group: Group) -> Document:
    """Return a limit group as `status.keys` has it."""
    return {
        "key": group.name,
        "limit": group.limit,
        "running": group.running,
        "pending": group.pending,
        "paused": group.paused,
    }
