"""The process table in SQLite."""

from __future__ import annotations

from ... import clock
from ...machine.identity import Identity
from ...model.claim import Slot
from ..values import Holder, Process, Running
from .file.database import Database
from .file.transaction import Row


class SqliteHosts:
    """See `HostStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, role: str, identity: Identity) -> int:
        values = {"pid": identity.pid, "ticks": identity.ticks, "boot": identity.boot, "pidns": identity.pidns}
        with self._database.write(durable=False) as transaction:
            return transaction.insert("insert_process", {"role": role, **values, "since": clock.now()})

    def deregister(self, number: int) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("delete_process", {"number": number})

    def process(self, number: int) -> Process | None:
        with self._database.read() as transaction:
            row = transaction.fetch_one("get_process", {"number": number})
        return None if row is None else _process(row)

    def processes(self, role: str) -> list[Process]:
        with self._database.read() as transaction:
            return [_process(row) for row in transaction.fetch_all("list_processes", {"role": role})]

    def started_at(self, role: str, pid: int) -> int | None:
        with self._database.read() as transaction:
            value = transaction.fetch_value("get_process_start", {"role": role, "pid": pid})
        return None if value is None else int(value)

    def holders(self) -> list[Holder]:
        with self._database.read() as transaction:
            return [Holder(_process(row), row["requested"]) for row in transaction.fetch_all("list_holders")]

    def running(self) -> list[Running]:
        with self._database.read() as transaction:
            return [_running(row) for row in transaction.fetch_all("list_running")]


def _process(row: Row) -> Process:
    return Process(row["number"], row["role"], Identity(row["pid"], row["ticks"], row["boot"], row["pidns"]))


def _running(row: Row) -> Running:
    names = "id claim key agent attempt max_attempts interruptions verdict".split()
    owner = None if row["number"] is None else _process(row)
    slot = Slot(row["limit_group"], row["slot"])
    return Running(
        number=row["task"], slot=slot, owner=owner, pid=row["task_pid"], **{name: row[name] for name in names}
    )
