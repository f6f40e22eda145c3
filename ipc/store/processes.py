"""Which processes of ours there are, and what they hold."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import NamedTuple

from .. import clock
from ..machine.identity import Identity
from ..machine.presence import Presence
from ..model.claim import Slot
from .sqlite.database import Database, Row


@dataclass(frozen=True)
class Process:
    """A process of a role, and its number in the registry, which is never given twice."""

    number: int
    role: str
    identity: Identity


@dataclass(frozen=True)
class Running:
    """A running task, as the supervisor sees it: who has it, and what is already decided."""

    number: int
    id: str
    claim: int
    key: str
    slot: Slot
    agent: str
    attempt: int
    max_attempts: int
    interruptions: int
    verdict: str | None
    pid: int | None
    owner: Process | None

    def is_orphaned(self, presence: Presence) -> bool:
        """Return True if its worker is proved dead. External work has none and is never orphaned."""
        if self.agent == "external":
            return False
        return self.owner is None or presence.is_dead(self.owner.identity)


class Holder(NamedTuple):
    """A worker that holds tasks.

    `requested` is since when another process waits for it to publish them, in milliseconds since 1970, or None.
    """

    process: Process
    requested: int | None


class ProcessTable:
    """The table of processes."""

    def __init__(self, database: Database) -> None:
        """Read and write this database."""
        self.database = database
        self.presence = Presence(database.home)

    def register(self, role: str) -> int:
        """Enter this process; its number."""
        me = Identity.mine()
        values = {
            "role": role,
            "pid": me.pid,
            "ticks": me.ticks,
            "boot": me.boot,
            "pidns": me.pidns,
            "since": clock.now(),
        }
        with self.database.write(durable=False) as transaction:
            return transaction.insert("insert_process", values)

    def leave(self, number: int) -> None:
        """Strike a process out."""
        with self.database.write(durable=False) as transaction:
            transaction.run("delete_process", {"number": number})

    def strike_out_dead(self) -> None:
        """Strike out the dead that no running task refers to any more."""
        owners = {running.owner.number for running in self.running() if running.owner}
        owners |= {holder.process.number for holder in self.holders()}
        for role in ("supervisor", "flusher", "worker"):
            for process in self.processes(role):
                if process.number not in owners and self.presence.is_dead(process.identity):
                    self.leave(process.number)

    def processes(self, role: str) -> list[Process]:
        """All that are entered under a role, dead or alive."""
        with self.database.read() as transaction:
            return [process_of(row) for row in transaction.all("list_processes", {"role": role})]

    def started_at(self, role: str, pid: int) -> int | None:
        """When a process of that role entered itself, in milliseconds since 1970."""
        with self.database.read() as transaction:
            value = transaction.value("get_process_start", {"role": role, "pid": pid})
            return None if value is None else int(value)

    def holders(self) -> list[Holder]:
        """Return the workers that hold tasks."""
        with self.database.read() as transaction:
            rows = transaction.all("list_holders")
        return [Holder(process_of(row), row["requested"]) for row in rows]

    def running(self) -> list[Running]:
        """All running tasks."""
        with self.database.read() as transaction:
            return [_running(row) for row in transaction.all("list_running")]


def wake_process(database: Database, number: int) -> bool:
    """Have a process look at the database again (a signal that it waits for); whether it lives."""
    with database.read() as transaction:
        row = transaction.one("get_process", {"number": number})
    return row is not None and process_of(row).identity.signal(signal.SIGUSR1)


def process_of(row: Row) -> Process:
    """A process from its row."""
    return Process(row["number"], row["role"], Identity(row["pid"], row["ticks"], row["boot"], row["pidns"]))


def _running(row: Row) -> Running:
    names = "id claim key agent attempt max_attempts interruptions verdict".split()
    owner = None if row["number"] is None else process_of(row)
    slot = Slot(row["limit_group"], row["slot"])
    return Running(
        number=row["task"], slot=slot, owner=owner, pid=row["task_pid"], **{name: row[name] for name in names}
    )
