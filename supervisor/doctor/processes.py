"""Check the processes of backburner and of its tasks."""

from __future__ import annotations

from collections.abc import Iterator

from ...ipc import clock
from ...ipc.bus.client import Client
from ...ipc.errors import BackburnerError
from ...ipc.home import Home
from ...ipc.machine import proc
from ...ipc.machine.distribution import version
from ...ipc.machine.presence import ROLES, Presence
from ...ipc.machine.proc import is_stopped, start_ticks
from ...ipc.store.values import Running
from ..execution.process_tree import marked_processes
from .finding import Finding
from .storage import Contents

#: Seconds within which the supervisor must replace or rescue dead processes, and the bus must answer.
TIMEOUT = 2.0


def report_missing_proc() -> Iterator[Finding]:
    """Report that nothing can be read about processes. The other checks of a state directory need that."""
    yield Finding("proc", proc.MISSING, "No supervisor can run here.", proc.MOUNT_COMMAND)


def check_gate(home: Home) -> Iterator[Finding]:
    """Report a stopped process that holds the write gate."""
    pid = Presence(home).holder("gate")
    if pid is not None and is_stopped(pid):
        what, why = (
            f"Process {pid} is stopped while it holds the write gate.",
            "No process can write until it continues or ends.",
        )
        yield Finding("gate", what, why, f"kill -CONT {pid}")


def check_roles(home: Home) -> Iterator[Finding]:
    """Report roles that are stopped, missing or without a supervisor, and a bus that does not answer."""
    presence = Presence(home)
    if moved := list(_check_moved(presence)):
        yield from moved
        return
    yield from _check_versions(presence)
    living = {role: presence.holder(role) for role in ROLES}
    stopped = [(role, pid) for role, pid in living.items() if pid is not None and is_stopped(pid)]
    for role, pid in stopped:
        yield Finding("roles", f"The {role} {pid} is stopped.", "It does no work.", f"kill -CONT {pid}")
    if living["supervisor"] is None:
        yield from _check_unsupervised(living)
        return
    missing = [role for role in ("flusher", "forkserver") if not _appears(home, role)]
    for role in missing:
        why = "It serves the bus." if role == "flusher" else "It starts the workers."
        yield Finding("roles", f"The {role} is missing.", why, f"backburner restart  (see {home.log})")
    if not missing and not stopped:
        yield from _check_bus(home)


def _check_moved(presence: Presence) -> Iterator[Finding]:
    for role in ROLES:
        path = presence.moved_from(role)
        if path is not None:
            what = f"The {role} {presence.holder(role)} still uses {path}, from which this state directory was moved."
            why = "It cannot reach the database: no task starts, and no outcome is stored."
            yield Finding("moved", what, why, "backburner up --detach")


def _check_versions(presence: Presence) -> Iterator[Finding]:
    for role in ROLES:
        found = presence.version(role) if presence.is_held(role) else None
        if found not in (None, version()):
            what = f"The {role} {presence.holder(role)} has version {found}, this program has version {version()}."
            yield Finding("version", what, "It still runs the other version.", "backburner restart")


def _check_unsupervised(living: dict[str, int | None]) -> Iterator[Finding]:
    for role in ("flusher", "forkserver"):
        if living[role] is not None:
            what = f"The {role} {living[role]} has no supervisor."
            yield Finding(
                "roles", what, "Its supervisor was killed; the next supervisor adopts it.", "backburner up --detach"
            )


def _appears(home: Home, role: str) -> bool:
    """Return True if a process has the role, or gets it in time."""
    presence, until = Presence(home), clock.monotonic() + TIMEOUT
    while not presence.is_held(role):
        if clock.monotonic() >= until:
            return False
        clock.nap(0.05)
    return True


def _check_bus(home: Home) -> Iterator[Finding]:
    if not _answers(home):
        yield Finding("bus", f"The bus {home.bus} does not answer.", "No client can subscribe.", "backburner restart")


def _answers(home: Home) -> bool:
    with Client(home, read_timeout=TIMEOUT) as client:
        try:
            client.call("ping")
        except BackburnerError:
            return False
    return True


def check_orphans(contents: Contents) -> Iterator[Finding]:
    """Report running tasks whose worker has died, unless a supervisor rescues them in time."""
    dead = _dead(contents)
    if dead and contents.is_supervised:
        clock.nap(TIMEOUT)
        still_dead = {task.claim for task in _dead(contents)}
        dead = [task for task in dead if task.claim in still_dead]
    for task in dead:
        what, why = f"Task {task.id} is running, but its worker has died.", "It occupies a slot and never ends."
        yield Finding("orphans", what, why, contents.start_command)


def _dead(contents: Contents) -> list[Running]:
    presence = Presence(contents.home)
    return [task for task in contents.store.hosts.running() if task.is_orphaned(presence)]


def check_strays(contents: Contents) -> Iterator[Finding]:
    """Report processes of attempts that have ended."""
    before = _claims(contents)
    marked = marked_processes(contents.home.folder)
    known = before | _claims(contents)
    for pid, claim in sorted(marked.items()):
        if claim not in known and start_ticks(pid) is not None:
            what = f"Process {pid} belongs to an attempt that has ended (claim {claim})."
            yield Finding("strays", what, "It still runs, and no process of backburner watches it.", f"kill {pid}")


def _claims(contents: Contents) -> set[int]:
    return {task.claim for task in contents.store.hosts.running()}
