"""Reading a damaged database as far as it can be read, and importing that into a new one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .... import clock
from ..store import SqliteStore
from .counters import advance_counters_beyond
from .errors import translated
from .inspection import connect_reading, find_flaws


class DamagedDatabase:
    """A database that may be damaged, to be read as far as it can be."""

    def __init__(self, path: Path) -> None:
        """Open that file. Nothing in it is believed."""
        self.path = path
        with translated(path):
            self._connection = connect_reading(path)

    def flaws(self) -> list[str]:
        """What SQLite finds wrong with it, at most ten sentences; what it cannot open is wrong, too."""
        try:
            return find_flaws(self._connection, "PRAGMA integrity_check(10)")
        except sqlite3.DatabaseError as error:
            return [str(error)]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What can be read of a table: from its start and from its end to the damage, and what lies between."""
        from sqlite_utils import Database as Tables

        try:
            found = Tables(self._connection, execute_plugins=False).table(table)
        except sqlite3.DatabaseError:
            return []
        read = _Reading(lambda where, order: found.rows_where(where, order_by=order))
        return read.by_number() if table in NUMBERED else read.once()

    def has_tables(self) -> bool:
        """Whether it can be read which tables there are."""
        try:
            return bool(self._connection.execute("PRAGMA table_list").fetchall()[2:])
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        """Let go."""
        self._connection.close()


class _Reading:
    """Rows of one table, each of which may be unreadable."""

    #: Reads that may fail before what is left is given up: damage is local, or everywhere.
    PATIENCE = 5000

    def __init__(self, ask: Callable[[str | None, str | None], Iterator[dict[str, Any]]]) -> None:
        self._ask = ask
        self._rows: list[dict[str, Any]] = []
        self._failures = 0

    def once(self) -> list[dict[str, Any]]:
        self._take(None, None)
        return self._rows

    def by_number(self) -> list[dict[str, Any]]:
        if self._take(None, "rowid"):
            return self._rows
        forward, self._rows = self._rows, []
        self._take(None, "rowid desc")
        backward, self._rows = self._rows[::-1], []
        first = _number(forward[-1]) + 1 if forward else 1
        last = _number(backward[0]) - 1 if backward else HIGHEST
        self._between(first, last)
        return [*forward, *self._rows, *backward]

    def _between(self, first: int, last: int) -> None:
        """Halve what cannot be read, until the damage is all that is left."""
        if first > last or self._failures > self.PATIENCE:
            return
        before = len(self._rows)
        if self._take(f"rowid BETWEEN {first} AND {last}", "rowid"):
            return
        if len(self._rows) > before:
            first = _number(self._rows[-1]) + 1
        self._failures += 1
        middle = (first + last) // 2
        if first < last:
            self._between(first, middle)
            self._between(middle + 1, last)

    def _take(self, where: str | None, order: str | None) -> bool:
        """Read until it ends, or fails; which of the two."""
        try:
            for row in self._ask(where, order):
                self._rows.append(row)
        except sqlite3.DatabaseError:
            return False
        return True


def _number(row: dict[str, Any]) -> int:
    return int(next(iter(row.values())))


#: What is salvaged, in this order; and the tables whose first column is their rows' number.
TABLES = (
    "tasks inputs outputs dependencies events outbox cursors truncations settings counters groups keys successors"
).split()
NUMBERED = ("tasks", "inputs", "events")

#: No row has a higher number.
HIGHEST = 2**53

#: What makes salvaged rows whole again: statements, in this order.
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
    """Copy a table's rows, as many as can be read and fit; how many did."""
    from sqlite_utils import Database as Tables

    fresh = Tables(connection, execute_plugins=False).table(table)
    names = {column.name for column in fresh.columns}
    rows = [{name: value for name, value in row.items() if name in names} for row in damaged.rows(table)]
    newer = table in ("settings", "counters")  # a fresh database has some of these
    try:
        fresh.insert_all(rows, replace=newer, ignore=not newer)
    except sqlite3.IntegrityError:  # one is of a type that cannot be: the others stand for themselves
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                fresh.insert(row, replace=newer, ignore=not newer)
    return int(fresh.count)


class RescueDatabase(SqliteStore):
    """A new database that takes in what can be read of a damaged one."""

    def import_damaged(self, damaged: DamagedDatabase) -> dict[str, int]:
        """Copy what can be read of a damaged database into this one, which is new.

        How many rows of each table there are; `given_up` are the tasks that ended because their input was lost. What
        belongs to nothing is left out. Raises Temporary.
        """
        with self._mutex, translated(self.home), self._gate:
            self._connection.execute("PRAGMA foreign_keys = OFF")
            with self._synced_transaction():
                log = self._transaction.setting("log")
                counts = {table: _copy_table(damaged, table, self._connection) for table in TABLES}
                for name in REPAIRS:
                    self._transaction.run(name)
                counts["given_up"] = self._transaction.run("fail_tasks_without_input", {"now": clock.now()})
                self._go_on_from(damaged.rows("sqlite_sequence"), log)
            self._connection.execute("PRAGMA foreign_keys = ON")
        return counts

    def _go_on_from(self, sequences: list[dict[str, Any]], log: str) -> None:
        """Move the numbers beyond those that were given; where they cannot be known, this is another log."""
        given = {row["name"]: row["seq"] for row in sequences}
        known = max(given.get("events") or 0, self._transaction.fetch_value("get_highest_seq"))
        claim = max(given.get("claims") or 0, self._transaction.fetch_value("get_highest_claim"))
        advance_counters_beyond(self._transaction, known, claim)
        if not given.get("events"):
            self._transaction.run("set_setting", {"name": "log", "value": log})


def flaws_of(path: Path) -> list[str]:
    """What SQLite finds wrong with a database file that nobody has open; at most ten sentences."""
    damaged = DamagedDatabase(path)
    try:
        return damaged.flaws()
    finally:
        damaged.close()
