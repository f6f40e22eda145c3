"""The event log in SQLite. Only triggers write events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ... import clock
from ...errors import InvalidInput
from ...model.batch import SOURCE, batch_totals
from ...model.event import ALL_SESSIONS, Line
from ..values import PAGE_BYTES, LaggingReader
from .file.database import Database
from .file.transaction import UNLIMITED, Transaction

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class SqliteEvents:
    """See `EventStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def id(self) -> str:
        with self._database.read() as transaction:
            return str(transaction.setting("log"))

    def last_seq(self) -> int:
        with self._database.read() as transaction:
            return last_seq(transaction)

    def newest(self) -> int:
        with self._database.read() as transaction:
            return transaction.fetch_value("get_newest_event") or 0

    def read(self, parent: str | None, after: int, limit: int) -> list[Line]:
        return self.page(parent, after, limit, UNLIMITED)[0]

    def page(self, parent: str | None, after: int, limit: int, room: int = PAGE_BYTES) -> tuple[list[Line], bool]:
        name = "read_events" if parent is None else "read_events_of_parent"
        with self._database.read() as transaction:
            rows, fit = transaction.fetch_page(name, {"parent": parent, "after": after, "limit": limit}, room)
        return [Line._make(row) for row in rows], fit and len(rows) < limit

    def cursor(self, parent: str, consumer: str) -> int:
        with self._database.read() as transaction:
            return transaction.fetch_value("get_cursor", {"parent": parent, "consumer": consumer}) or 0

    def cursors(self, parent: str) -> dict[str, int]:
        with self._database.read() as transaction:
            return cursors(transaction, parent)

    def acknowledge(self, parent: str, consumer: str, seq: int) -> int:
        with self._database.write(durable=False) as transaction:
            last = last_seq(transaction)
            if seq > last:
                raise InvalidInput(f"seq: {seq} is beyond the end of the log ({last}).", field="seq")
            return acknowledge(transaction, parent, consumer, seq)

    def dismiss(self, parent: str, consumer: str) -> None:
        if consumer in self.cursors(parent):
            with self._database.write(durable=False) as transaction:
                transaction.run("delete_cursor", {"parent": parent, "consumer": consumer})

    def truncated(self, parent: str | None, after: int) -> int | None:
        name = parent or ALL_SESSIONS
        with self._database.read() as transaction:
            deleted = transaction.fetch_value("get_truncation", {"parent": name}) or 0
            if deleted <= after:
                return None
            first = transaction.fetch_value("get_first_event_after", {"parent": name, "after": deleted})
        return int(first) if first is not None else int(deleted) + 1

    def unread_batches(self, parent: str, consumer: str, limit: int) -> list[tuple[int, dict[str, Any]]]:
        values = {"parent": parent, "consumer": consumer, "limit": limit}
        with self._database.read() as transaction:
            rows, _ = transaction.fetch_page("list_unread", values, PAGE_BYTES)
            is_busy = bool(rows) and more_to_come(transaction, parent, 0)
        batches = [(seq, json.loads(body) | {"allComplete": False}) for seq, body in rows]
        if batches:
            batches[-1][1]["allComplete"] = not is_busy
        return batches

    def lagging(self, before: int, limit: int) -> list[LaggingReader]:
        with self._database.read() as transaction:
            rows = transaction.iterate("list_lagging", {"before": before, "limit": limit})
            return [LaggingReader(*row) for row in rows]

    def has_unbatched(self, parent: str) -> bool:
        with self._database.read() as transaction:
            return bool(transaction.fetch_value("has_waiting_end", {"parent": parent}))

    def unbatched(self) -> dict[str, tuple[int, int]]:
        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_unbatched")
        return {row["parent"]: (row["count"], row["since"]) for row in rows}

    def count_unbatched(self) -> int:
        with self._database.read() as transaction:
            return int(transaction.fetch_value("count_unbatched"))

    def form_batch(self, parent: str, limit: int) -> int:
        with self._database.write(durable=False) as transaction:
            return form_batch(transaction, parent, limit)

    def form_batches(self, ends: Mapping[str, int], limit: int) -> int:
        with self._database.write(durable=False) as transaction:
            return sum(_form_until(transaction, parent, count, limit) for parent, count in ends.items())


def last_seq(transaction: Transaction) -> int:
    """Return the number of the last event."""
    return int(transaction.fetch_value("get_last_seq"))


def cursors(transaction: Transaction, parent: str) -> dict[str, int]:
    """Return the cursor of each consumer of a session's events."""
    return {row["consumer"]: row["seq"] for row in transaction.fetch_all("list_cursors", {"parent": parent})}


def acknowledge(transaction: Transaction, parent: str, consumer: str, seq: int) -> int:
    """Move a cursor forward and return its position."""
    return int(transaction.fetch_value("set_cursor", {"parent": parent, "consumer": consumer, "seq": seq}))


def form_batch(transaction: Transaction, parent: str, limit: int) -> int:
    """Form a batch of up to `limit` ended tasks of a session, or fewer if they are large. Return their number."""
    rows, _ = transaction.fetch_page("take_unbatched", {"parent": parent, "limit": limit}, PAGE_BYTES)
    if not rows:
        return 0
    seqs, ids, statuses, briefs = zip(*rows, strict=True)
    head = {"taskIds": ids, "source": SOURCE}
    totals = batch_totals(statuses, all_complete=not more_to_come(transaction, parent, seqs[-1]))
    body = f'{_json(head)[:-1]},"tasks":[{",".join(briefs)}],{_json(totals)[1:]}'
    append_batch(transaction, parent, body, seqs[-1])
    return len(rows)


def _form_until(transaction: Transaction, parent: str, count: int, limit: int) -> int:
    """Form batches of a session until `count` ended tasks, or all, are in one. Return the number of batches."""
    formed = 0
    while count > 0 and (size := form_batch(transaction, parent, limit)):
        count, formed = count - size, formed + 1
    return formed


def more_to_come(transaction: Transaction, parent: str, seq: int) -> bool:
    """Return True if a session has unfinished tasks, or tasks that ended after the event `seq` and are in no batch."""
    return bool(transaction.fetch_value("has_more_unbatched", {"parent": parent, "seq": seq}))


def append_batch(transaction: Transaction, parent: str, body: str, seq: int) -> None:
    """Append a batch of the tasks that ended up to the event `seq` to the log. `body` is the batch as compact JSON."""
    transaction.run("form_batch", {"seq": seq, "parent": parent, "at": clock.now(), "body": body})
