"""Import the readable rows of a damaged database into a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .... import clock
from ..store import SqliteStore
from .counters import advance_counters_past_numbers
from .errors import translated
from .inspection import connect_reading, find_flaws


class DamagedDatabase:
    """A database file that may be damaged, opened read-only."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises Damaged, Temporary."""
        self.path = path
        with translated(path):
            self._connection = connect_reading(path)

    def flaws(self) -> list[str]:
        """Return up to ten problems that SQLite finds in the file."""
        try:
            return find_flaws(self._connection, "PRAGMA integrity_check(10)")
        except sqlite3.DatabaseError as error:
            return [str(error)]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the readable rows of a table, including rows after the damage and between damaged pages."""
        from sqlite_utils import Database as Tables

        try:
            source = Tables(self._connection, execute_plugins=False).table(table)
        except sqlite3.DatabaseError:
            return []
        reader = _TableReader(lambda where, order: source.rows_where(where, order_by=order))
        return reader.by_number() if table in NUMBERED else reader.once()

    def has_tables(self) -> bool:
        """Return True if the list of tables is readable."""
        try:
            return bool(self._connection.execute("PRAGMA table_list").fetchall()[2:])
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class _TableReader:
    """Reads the rows of one table, each of which may be unreadable."""

    #: The number of failed reads after which the rest of the table is given up, because the damage is not local.
    MAX_FAILURES = 5000

    def __init__(self, select: Callable[[str | None, str | None], Iterator[dict[str, Any]]]) -> None:
        self._select = select
        self._rows: list[dict[str, Any]] = []
        self._failures = 0

    def once(self) -> list[dict[str, Any]]:
        self._read(None, None)
        return self._rows

    def by_number(self) -> list[dict[str, Any]]:
        if self._read(None, "rowid"):
            return self._rows
        forward, self._rows = self._rows, []
        self._read(None, "rowid desc")
        backward, self._rows = self._rows[::-1], []
        first = _number(forward[-1]) + 1 if forward else 1
        last = _number(backward[0]) - 1 if backward else HIGHEST
        self._between(first, last)
        return [*forward, *self._rows, *backward]

    def _between(self, first: int, last: int) -> None:
        """Read a range of rows. Halve it at each failure until it contains only unreadable rows."""
        if first > last or self._failures > self.MAX_FAILURES:
            return
        before = len(self._rows)
        if self._read(f"rowid BETWEEN {first} AND {last}", "rowid"):
            return
        if len(self._rows) > before:
            first = _number(self._rows[-1]) + 1
        self._failures += 1
        middle = (first + last) // 2
        if first < last:
            self._between(first, middle)
            self._between(middle + 1, last)

    def _read(self, where: str | None, order: str | None) -> bool:
        """Read rows. Return False if reading failed before their end."""
        try:
            for row in self._select(where, order):
                self._rows.append(row)
        except sqlite3.DatabaseError:
            return False
        return True


def _number(row: dict[str, Any]) -> int:
    return int(next(iter(row.values())))


#: The tables that are salvaged, in this order.
TABLES = (
    "tasks inputs outputs dependencies events outbox cursors truncations settings counters groups keys successors"
).split()
#: The tables whose first column is the row number.
NUMBERED = ("tasks", "inputs", "events")

#: The highest number that a row may have.
HIGHEST = 2**53

#: The statements that make salvaged rows consistent again, in this order.
REPAIRS = (
    "delete_orphaned_outputs",
    "delete_orphaned_dependencies",
    "delete_orphaned_ends",
    "delete_orphaned_inputs",
    "insert_missing_inputs",
    "clear_owners",
    "recount_pending",
)


def _copy_table(damaged: DamagedDatabase, table: str, connection: sqlite3.Connection) -> int:
    """Copy the readable rows of a table that do not violate the schema. Return their number."""
    from sqlite_utils import Database as Tables

    fresh = Tables(connection, execute_plugins=False).table(table)
    names = {column.name for column in fresh.columns}
    rows = [{name: value for name, value in row.items() if name in names} for row in damaged.rows(table)]
    exists = table in ("settings", "counters")  # a new database has some of these rows
    try:
        fresh.insert_all(rows, replace=exists, ignore=not exists)
    except sqlite3.IntegrityError:  # a row violates the schema: insert the others one by one
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                fresh.insert(row, replace=exists, ignore=not exists)
    return int(fresh.count)


class SalvageDatabase(SqliteStore):
    """A new database for the rows of a damaged one."""

    def import_damaged(self, damaged: DamagedDatabase) -> dict[str, int]:
        """Copy the readable rows of a damaged database into this one. Return their number by table.

        Rows of lost tasks are omitted. `given_up` is the number of tasks that failed because their input is lost.
        Raises Temporary.
        """
        with self._mutex, translated(self.home), self._gate:
            self._connection.execute("PRAGMA foreign_keys = OFF")
            with self._synced_transaction():
                log = self._transaction.setting("log")
                counts = {table: _copy_table(damaged, table, self._connection) for table in TABLES}
                for name in REPAIRS:
                    self._transaction.run(name)
                counts["given_up"] = self._transaction.run("fail_tasks_without_input", {"now": clock.now()})
                self._advance_counters(damaged.rows("sqlite_sequence"), log)
            self._connection.execute("PRAGMA foreign_keys = ON")
        return counts

    def _advance_counters(self, sequences: list[dict[str, Any]], log: str) -> None:
        """Skip the numbers that were given. If the last number is unknown, keep this database's log ID."""
        last = {row["name"]: row["seq"] for row in sequences}
        seq = max(last.get("events") or 0, self._transaction.fetch_value("get_highest_seq"))
        claim = max(last.get("claims") or 0, self._transaction.fetch_value("get_highest_claim"))
        advance_counters_past_numbers(self._transaction, seq, claim)
        if not last.get("events"):
            self._transaction.run("set_setting", {"name": "log", "value": log})


def flaws_of(path: Path) -> list[str]:
    """Return up to ten problems of a database file that no process has open."""
    damaged = DamagedDatabase(path)
    try:
        return damaged.flaws()
    finally:
        damaged.close()
