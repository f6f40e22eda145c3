"""Sessions in SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import clock
from ...model.event import MODEL
from ..sessions import SERVER
from ..values import Adopted
from .events import acknowledge, append_batch, cursors, form_batch, last_seq, more_to_come
from .file.database import Database
from .file.transaction import Row, Transaction
from .tasks import successor_of

if TYPE_CHECKING:
    from ...machine.identity import Identity


class SqliteSessions:
    """See `SessionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def successor(self, parent: str) -> str:
        with self._database.read() as transaction:
            return successor_of(transaction, parent) or parent

    def adopt(self, parent: str, successor: str, batch_size: int) -> Adopted:
        with self._database.write() as transaction:
            while form_batch(transaction, parent, batch_size):
                pass
            tasks = transaction.run("adopt_tasks", {"parent": parent, "successor": successor})
            batches = _deliver_again(transaction, parent, successor)
            transaction.run("clear_successor", {"parent": successor})
            transaction.run("move_successors", {"parent": parent, "successor": successor})
            transaction.run("set_successor", {"parent": parent, "successor": successor})
        return Adopted(tasks, batches)

    def of_process(self, process: Identity) -> tuple[str | None, str | None]:
        with self._database.read() as transaction:
            names = (process.name, process.name + SERVER)
            seen, served = (transaction.fetch_value("get_session", {"process": name}) for name in names)
        return seen, served

    def record(self, process: Identity, session: str) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("clear_successor", {"parent": session})
            for name in (process.name, process.name + SERVER):
                transaction.run("set_session", {"process": name, "session": session, "at": clock.now()})

    def record_served(self, process: Identity, session: str) -> None:
        values = {"process": process.name + SERVER, "session": session, "at": clock.now()}
        with self._database.write(durable=False) as transaction:
            transaction.run("set_session", values)

    def clients_of(self, session: str) -> list[str]:
        with self._database.read() as transaction:
            return [row["process"] for row in transaction.fetch_all("list_clients_of", {"session": session})]


def _deliver_again(transaction: Transaction, parent: str, successor: str) -> int:
    """Append a session's unread batches to its successor's log and acknowledge them. Return their number."""
    acknowledged = {MODEL: 0} | cursors(transaction, parent)
    caught_up = [consumer for consumer in acknowledged if _has_caught_up(transaction, successor, consumer)]
    old = transaction.fetch_all("list_batches", {"parent": parent, "after": min(acknowledged.values())})
    new = _append(transaction, successor, old)
    for consumer in caught_up:
        passed = sum(row["seq"] <= acknowledged[consumer] for row in old)
        acknowledge(transaction, successor, consumer, new[passed - 1] if passed else 0)
    for consumer in acknowledged:
        acknowledge(transaction, parent, consumer, last_seq(transaction))
    return len(new)


def _has_caught_up(transaction: Transaction, parent: str, consumer: str) -> bool:
    after = cursors(transaction, parent).get(consumer, 0)
    return not transaction.fetch_value("has_unread_event", {"parent": parent, "after": after})


def _append(transaction: Transaction, parent: str, batches: Sequence[Row]) -> list[int]:
    """Append batches, with a new `allComplete`, to a session's log. Return their event numbers."""
    numbers = []
    for row in batches:
        complete = row is batches[-1] and not more_to_come(transaction, parent, 0)
        body = json.loads(row["body"]) | {"allComplete": complete}
        append_batch(transaction, parent, json.dumps(body, ensure_ascii=False, separators=(",", ":")), 0)
        numbers.append(last_seq(transaction))
    return numbers
