"""The processes: those of ours, and those of the tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from ...ipc import clock
from ...ipc.bus.client import Client
from ...ipc.errors import BackburnerError
from ...ipc.home import Home
from ...ipc.machine.distribution import version
from ...ipc.machine.lock import holder
from ...ipc.machine.proc import is_stopped, start_ticks
from ...ipc.store.processes import ProcessTable, Running
from ...ipc.store.sqlite.database import Inspection
from ..execution.process_tree import marked_processes
from ..pool.recovery import is_dead
from .finding import Finding

ROLES = ("supervisor", "flusher", "forkserver")

#: Seconds that a supervisor may take to see to something, and the bus to answer.
PATIENCE = 2.0


def check_gate(home: Home) -> Iterator[Finding]:
    """Whether somebody who is stopped keeps all writers out."""
    pid = holder(home.lock("gate"))
    if pid is not None and is_stopped(pid):
        what, why = f"Process {pid} is stopped and holds the write gate.", "Nobody can write meanwhile."
        yield Finding("gate", what, why, f"kill -CONT {pid}")


def check_roles(home: Home) -> Iterator[Finding]:
    """Whether those who should be there are, and move."""
    living = {role: holder(home.lock(role)) for role in ROLES}
    for role, pid in living.items():
        if pid is not None and is_stopped(pid):
            yield Finding(
                "roles", f"The {role} {pid} is stopped.", "It does nothing until it goes on.", f"kill -CONT {pid}"
            )
    if living["supervisor"] is None:
        yield from _left_alone(living)
        return
    missing = [role for role in ("flusher", "forkserver") if not _comes(home, role)]
    for role in missing:
        why = "It is what serves the bus." if role == "flusher" else "It is what makes workers."
        yield Finding("roles", f"There is no {role}.", why, f"backburner restart  (see {home.log})")
    if not missing and not any(pid is not None and is_stopped(pid) for pid in living.values()):
        yield from _check_bus(home)


def _left_alone(living: dict[str, int | None]) -> Iterator[Finding]:
    for role in ("flusher", "forkserver"):
        if living[role] is not None:
            what = f"The {role} {living[role]} has no supervisor."
            yield Finding("roles", what, "Its supervisor was killed; the next one adopts it.", "backburner up --detach")


def _comes(home: Home, role: str) -> bool:
    """Whether a role is there, or comes in time: one that died is replaced at once."""
    until = clock.monotonic() + PATIENCE
    while holder(home.lock(role)) is None:
        if clock.monotonic() >= until:
            return False
        clock.nap(0.05)
    return True


def _check_bus(home: Home) -> Iterator[Finding]:
    answer = _ping(home)
    if answer is None:
        what = f"The bus {home.bus} does not answer."
        yield Finding("bus", what, "Nobody can subscribe.", "backburner restart")
    elif answer["version"] != version():
        what = f"The supervisor is version {answer['version']}, this program is {version()}."
        yield Finding("version", what, "It goes on with the old code.", "backburner restart")


def _ping(home: Home) -> dict[str, Any] | None:
    heard: list[dict[str, Any]] = []
    with Client(home) as client:
        asker = threading.Thread(target=_ask, args=(client, heard), daemon=True)
        asker.start()
        asker.join(PATIENCE)
    return heard[0] if heard else None


def _ask(client: Client, heard: list[dict[str, Any]]) -> None:
    try:
        heard.append(client.call("ping"))
    except BackburnerError:
        return


def check_orphans(database: Inspection) -> Iterator[Finding]:
    """Whether tasks are running with nobody to run them; a supervisor may take a moment to see to it."""
    dead = _dead(database)
    if dead and holder(database.home.lock("supervisor")) is not None:
        clock.nap(PATIENCE)
        still = {one.claim for one in _dead(database)}
        dead = [one for one in dead if one.claim in still]
    for one in dead:
        what = f"Task {one.id} is running, and its worker is dead."
        mend = "backburner restart" if holder(database.home.lock("supervisor")) else "backburner up --detach"
        yield Finding("orphans", what, "It holds a slot and never ends.", mend)


def _dead(database: Inspection) -> list[Running]:
    return [one for one in ProcessTable(database).running() if is_dead(one)]


def check_strays(database: Inspection) -> Iterator[Finding]:
    """Whether processes of tasks are left whose task does not run."""
    before = _claims(database)
    found = marked_processes(database.home.folder)
    known = before | _claims(database)
    for pid, claim in sorted(found.items()):
        if claim not in known and start_ticks(pid) is not None:
            what = f"Process {pid} belongs to a try that has ended (claim {claim})."
            yield Finding("strays", what, "It works on, and nobody looks after it.", f"kill {pid}")


def _claims(database: Inspection) -> set[int]:
    return {one.claim for one in ProcessTable(database).running()}
