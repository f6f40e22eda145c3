"""Parked workers: each waits in its slot for a launch that claims a task for it, without the supervisor.

A row of `parked` says that a worker waits. The transaction that deletes the row decides what comes next: a launch makes
its task the running one of the slot, the supervisor or the worker takes the slot back. After its commit a launch sends
the task to the worker; a worker that does not receive it finds its running task in the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from .. import clock
from ..home import Home
from ..model.claim import ReadyTask, Slot, Taken
from . import claiming
from .sqlite.database import Database, Transaction

#: Bytes of a message beyond which the worker is only woken; half of what a pipe takes without blocking.
MESSAGE_LIMIT = 32 * 1024


class Assignment(NamedTuple):
    """A task that a launch has claimed for a parked worker."""

    owner: int
    taken: Taken


def park(transaction: Transaction, slot: Slot, owner: int) -> bool:
    """Park a worker in its slot; return False if the slot may not be used now or a task of the group is ready."""
    return transaction.run("park_worker", {"owner": owner, "limit_group": slot.group, "slot": slot.number}) == 1


def assign(transaction: Transaction, number: int, launched: Mapping[str, Any]) -> Assignment | None:
    """Claim a new task for a parked worker of its group, if there is one and the task is the group's next.

    `launched` has the columns of the task and of its input.
    """
    if not launched["ready"] or launched["agent"] == "external":
        return None
    row = transaction.one("take_parked", {"limit_group": launched["limit_group"], "number": number})
    if row is None:
        return None
    values = {**launched, "number": number, "attempt": 1, "interruptions": 0}
    task = ReadyTask._make(values[name] for name in ReadyTask._fields)
    taken = Taken(task, claiming.next_claim(transaction), Slot(launched["limit_group"], row["slot"]), clock.now())
    claiming.start(transaction, taken, row["owner"])
    return Assignment(row["owner"], taken)


class ParkedSlots:
    """The parked workers of a home."""

    def __init__(self, database: Database) -> None:
        """Read and write this database."""
        self._database = database

    def all(self) -> dict[int, Slot]:
        """Return the slot of each parked worker."""
        with self._database.read() as transaction:
            return {row["owner"]: Slot(row["limit_group"], row["slot"]) for row in transaction.all("list_parked")}

    def take_back(self, owner: int) -> bool:
        """Take a worker out of its slot; return False if it is not parked any more."""
        with self._database.write(durable=False) as transaction:
            return transaction.run("unpark_worker", {"owner": owner}) == 1

    def assigned(self, owner: int) -> Taken | None:
        """Return the running task of a worker, or None."""
        with self._database.read() as transaction:
            row = next(transaction.tuples("get_assigned", {"owner": owner}), None)
        if row is None:
            return None
        claim, group, slot, started_at, *task = row
        return Taken(ReadyTask._make(task), claim, Slot(group, slot), started_at)


def pipe_of(owner: int) -> str:
    """Return the name of the pipe that wakes a worker, for `Home.wake`."""
    return f"output/worker-{owner}"


def send(home: Home, assignment: Assignment) -> bool:
    """Send a task to the worker that it was claimed for; return False if the worker does not listen."""
    taken = assignment.taken
    body = json.dumps([taken.claim, taken.slot.group, taken.slot.number, taken.started_at, taken.task])
    line = f"{crc32(body.encode())} {body}"
    return home.wake(pipe_of(assignment.owner), line if len(line) < MESSAGE_LIMIT else "")


def received(line: bytes) -> Taken | None:
    """Return the task of a message; None for one that is damaged, or that only wakes the worker."""
    checksum, _, body = line.partition(b" ")
    if not body or not checksum.isdigit() or int(checksum) != crc32(body):
        return None
    claim, group, slot, started_at, task = json.loads(body)
    same_release = len(task) == len(ReadyTask._fields)
    return Taken(ReadyTask._make(task), claim, Slot(group, slot), started_at) if same_release else None
