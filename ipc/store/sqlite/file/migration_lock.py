"""Decide whether a database may be migrated now, and keep supervisors from starting during the migration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ....errors import OlderProcesses, Temporary
from ....home import Home
from ....machine.identity import Identity
from ....machine.lock import Lock
from ....machine.presence import Presence

#: The first schema whose processes may keep running while a newer supervisor migrates the database.
FIRST_LIVE = 6

#: Returns the rows of the process table in the form of the statement `list_registered`.
Registered = Callable[[], Sequence[Mapping[str, Any]]]

#: The locks of fork servers, replaced ones included. Release 0.1 named them `nursery`.
_FORK_SERVERS = ("forkserver*.lock", "nursery*.lock")


class LivingProcess(NamedTuple):
    """A living process of a home. The PID 0 stands for a process in another PID namespace."""

    role: str
    pid: int

    def __str__(self) -> str:
        return f"{self.role} {self.pid}" if self.pid else f"{self.role} in another container"


@contextmanager
def migration_lock(home: Home, version: int, registered: Registered) -> Iterator[None]:
    """Hold the supervisor lock of a home while its database is migrated from the schema `version`.

    The running supervisor, which already holds the lock, may migrate a database of schema `FIRST_LIVE` or later while
    other processes run. In all other cases, all processes of the home must have ended. Raises OlderProcesses, and
    Temporary while a supervisor is starting.
    """
    lock = Lock(home.lock("supervisor"))
    is_supervisor = Presence(home).holder("supervisor") == os.getpid()
    is_taken = not is_supervisor and lock.acquire()
    try:
        if not (is_supervisor and version >= FIRST_LIVE):
            refuse_living(home, version, registered())
        if not (is_supervisor or is_taken):
            raise Temporary(f"A supervisor of {home.folder} is just starting.")
        yield
    finally:
        if is_taken:
            lock.release()


def refuse_living(home: Home, version: int, registered: Sequence[Mapping[str, Any]]) -> None:
    """Raise OlderProcesses if a process of a home is alive. Its database has an older schema, `version`.

    A supervisor that has not registered yet is ignored: it may be of this release, about to migrate the database.
    """
    holders = _lock_holders(home)
    known = {_identity(row) for row in registered}
    others = [LivingProcess(row["role"], _identity(row).pid) for row in registered if _lives(row)]
    living = list(dict.fromkeys(process for process in [*holders, *others] if process.pid != os.getpid()))
    is_starting = [process.role for process in living] == ["supervisor"] and Identity.of(living[0].pid) not in known
    if living and not is_starting:
        what = f"{home.folder} belongs to an older backburner (schema {version}), which is still running"
        raise OlderProcesses(f"{what}: {', '.join(map(str, living))}. First: {_remedy(version, living)}")


def _lock_holders(home: Home) -> list[LivingProcess]:
    presence = Presence(home)
    locks = [("supervisor", "supervisor"), ("flusher", "flusher")]
    locks += [("fork server", path.stem) for name in _FORK_SERVERS for path in sorted(home.folder.glob(name))]
    return [LivingProcess(role, pid) for role, lock in locks if (pid := presence.holder(lock)) is not None]


def _identity(row: Mapping[str, Any]) -> Identity:
    return Identity(row["pid"], row["ticks"], row["boot"], row["pidns"])


def _lives(row: Mapping[str, Any]) -> bool:
    """Return True if a registered process is alive. In another PID namespace, it is alive if it has a task."""
    alive = _identity(row).alive()
    return bool(row["has_task"]) if alive is None else alive


def _remedy(version: int, living: Sequence[LivingProcess]) -> str:
    has_supervisor = any(process.role == "supervisor" for process in living)
    if version >= FIRST_LIVE:
        return "backburner restart" if has_supervisor else "backburner up --detach"
    if has_supervisor or not all(process.pid for process in living):
        return "backburner down" + ("" if all(process.pid for process in living) else " (in that container)")
    return f"kill {' '.join(str(process.pid) for process in living)} (a worker finishes its task before it exits)"
