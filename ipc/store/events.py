"""The event log, seen from its readers: lines, cursors, batches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import clock
from ..errors import InvalidInput
from ..model.batch import SOURCE, batch_totals
from ..model.event import frame_params
from .sqlite.database import ENDLESS, Database, Transaction

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: Bytes after which a page, a list and a batch end: of so many at a time those are who tell thousands.
ROOM = 1024 * 1024

#: The type of a batch, as subscribers receive it.
BATCH = "background_tasks_batch"


class Line(NamedTuple):
    """One event of the log; `frame` is the notification that its subscribers receive."""

    seq: int
    type: str
    parent: str | None
    frame: bytes

    @property
    def text(self) -> str:
        """The event as a JSON object."""
        return frame_params(self.frame)

    @property
    def message(self) -> str:
        """The sentence of a batch; empty for all else."""
        return str(json.loads(self.text).get("message", ""))


class EventLog:
    """The event log of a home. What is read here was written by the database's triggers."""

    def __init__(self, database: Database) -> None:
        """Read this database's log."""
        self.database = database

    def id(self) -> str:
        """What names this log: another one may have the same numbers."""
        with self.database.read() as transaction:
            return str(transaction.setting("log"))

    def last_seq(self) -> int:
        """The last number that was given."""
        with self.database.read() as transaction:
            return last_seq(transaction)

    def read(self, parent: str | None, after: int, limit: int) -> list[Line]:
        """At most `limit` events after `after`, of one parent or (None) of all, in order."""
        return self.page(parent, after, limit, ENDLESS)[0]

    def page(self, parent: str | None, after: int, limit: int, room: int = ROOM) -> tuple[list[Line], bool]:
        """Like `read`, but stop after `room` bytes; also return True if there are no further events."""
        name = "read_events" if parent is None else "read_events_of_parent"
        with self.database.read() as transaction:
            rows, fit = transaction.page(name, {"parent": parent, "after": after, "limit": limit}, room)
        return [Line._make(row) for row in rows], fit and len(rows) < limit

    def cursor(self, parent: str, consumer: str) -> int:
        """Up to where that consumer has acknowledged that parent's events; 0 at first."""
        with self.database.read() as transaction:
            return transaction.value("get_cursor", {"parent": parent, "consumer": consumer}) or 0

    def cursors(self, parent: str) -> dict[str, int]:
        """How far each consumer of a parent's events has read that has acknowledged any, be it number 0."""
        with self.database.read() as transaction:
            return cursors(transaction, parent)

    def acknowledge(self, parent: str, consumer: str, seq: int) -> int:
        """Move a cursor forward; where it is now. Raises InvalidInput beyond the log's end."""
        with self.database.write(durable=False) as transaction:
            last = last_seq(transaction)
            if seq > last:
                raise InvalidInput(f"seq: the log ends at {last}, {seq} is beyond it.", field="seq")
            return acknowledge(transaction, parent, consumer, seq)

    def dismiss(self, parent: str, consumer: str) -> None:
        """Forget how far a consumer of a parent's events has read, if it has read any."""
        if consumer in self.cursors(parent):
            with self.database.write(durable=False) as transaction:
                transaction.run("delete_cursor", {"parent": parent, "consumer": consumer})

    def truncated(self, parent: str | None, after: int) -> int | None:
        """The first number that is still there, where some after `after` are not; else None."""
        name = parent or "*"
        with self.database.read() as transaction:
            gone = transaction.value("get_truncation", {"parent": name}) or 0
            if gone <= after:
                return None
            kept = transaction.value("get_first_event_after", {"parent": name, "after": gone})
        return int(kept) if kept is not None else int(gone) + 1

    def unbatched(self) -> dict[str, tuple[int, int]]:
        """Per parent: how many ends wait for a batch, and since when (milliseconds since 1970)."""
        with self.database.read() as transaction:
            rows = transaction.all("list_unbatched")
        return {row["parent"]: (row["count"], row["since"]) for row in rows}

    def has_unbatched(self, parent: str) -> bool:
        """Return True if outcomes of the parent's tasks are in no batch yet."""
        with self.database.read() as transaction:
            return bool(transaction.value("has_waiting_end", {"parent": parent}))

    def unread_batches(self, parent: str, consumer: str, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the first batches that a consumer has not acknowledged, with their numbers.

        `allComplete` is as it is now: it may have changed since a batch was formed.
        """
        values = {"parent": parent, "consumer": consumer, "limit": limit}
        with self.database.read() as transaction:
            rows = transaction.all("list_unread", values)
            is_busy = bool(rows) and more_to_come(transaction, parent, 0)
        batches = [(row["seq"], json.loads(row["body"]) | {"allComplete": False}) for row in rows]
        if batches:
            batches[-1][1]["allComplete"] = not is_busy
        return batches

    def count_unbatched(self) -> int:
        """How many ends wait for a batch."""
        with self.database.read() as transaction:
            return int(transaction.value("count_unbatched"))

    def form_batch(self, parent: str, most: int) -> int:
        """Tell a parent, in one notice, of at most `most` of its ended tasks (fewer large ones); of how many."""
        with self.database.write(durable=False) as transaction:
            return form_batch(transaction, parent, most)

    def form_batches(self, ends: Mapping[str, int], most: int) -> int:
        """Form the batches of so many ended tasks per parent, in one transaction; return how many were formed."""
        with self.database.write(durable=False) as transaction:
            return sum(_form_until(transaction, parent, count, most) for parent, count in ends.items())


def last_seq(transaction: Transaction) -> int:
    """The last number that was given."""
    return int(transaction.value("get_last_seq"))


def cursors(transaction: Transaction, parent: str) -> dict[str, int]:
    """How far each consumer of a parent's events has read."""
    return {row["consumer"]: row["seq"] for row in transaction.all("list_cursors", {"parent": parent})}


def acknowledge(transaction: Transaction, parent: str, consumer: str, seq: int) -> int:
    """Move a cursor forward; where it is now."""
    return int(transaction.value("set_cursor", {"parent": parent, "consumer": consumer, "seq": seq}))


def form_batch(transaction: Transaction, parent: str, most: int) -> int:
    """Tell a parent, in one notice, of at most `most` of its ended tasks (fewer large ones); of how many."""
    ends, _ = transaction.page("take_unbatched", {"parent": parent, "limit": most}, ROOM)
    if not ends:
        return 0
    seqs, ids, statuses, briefs = zip(*ends, strict=True)
    noted = {"taskIds": ids, "source": SOURCE}
    totals = batch_totals(statuses, all_complete=not more_to_come(transaction, parent, seqs[-1]))
    tell(transaction, parent, f'{_json(noted)[:-1]},"tasks":[{",".join(briefs)}],{_json(totals)[1:]}', seqs[-1])
    return len(ends)


def _form_until(transaction: Transaction, parent: str, count: int, most: int) -> int:
    """Form batches of a parent until `count` tasks are in one or no task waits; return how many were formed."""
    formed = 0
    while count > 0 and (size := form_batch(transaction, parent, most)):
        count, formed = count - size, formed + 1
    return formed


def more_to_come(transaction: Transaction, parent: str, seq: int) -> bool:
    """Whether a parent has unfinished tasks, or ends after a number that are in no batch."""
    return bool(transaction.value("has_more_unbatched", {"parent": parent, "seq": seq}))


def tell(transaction: Transaction, parent: str, body: str, seq: int) -> None:
    """Append a batch, a compact JSON object, to a parent's log; it reports the parent's ends up to `seq`."""
    transaction.run("form_batch", {"seq": seq, "parent": parent, "at": clock.now(), "body": body})
