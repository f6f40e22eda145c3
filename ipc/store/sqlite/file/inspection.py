"""Looking at a database without writing anything."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from urllib.parse import quote

from ....home import Home
from ..store import SqliteStore
from .errors import translated
from .migration_lock import FIRST_LIVE, refuse_living
from .transaction import Transaction


class Inspection(SqliteStore):
    """A home's database, opened read-only: nothing is written, created or migrated, not even beside it."""

    def _connect(self) -> sqlite3.Connection:
        return connect_reading(self.home.database)

    def _prepare(self) -> None:
        """Skip migration: the file is opened read-only."""

    def version(self) -> int:
        """Return the version of the schema. Raises Damaged, Temporary."""
        with translated(self.home):
            return self._version()

    def refuse_older_processes(self) -> None:
        """Raise OlderProcesses if processes live here that a restart with this program could not take over."""
        with translated(self.home):
            version = self._version()
            if 0 < version < FIRST_LIVE:
                refuse_living(self.home, version, self._registered())

    def flaws(self) -> list[str]:
        """Return what SQLite finds wrong with the file, at most ten sentences. Raises Damaged, Temporary."""
        with self._mutex, translated(self.home):
            return find_flaws(self._connection, "PRAGMA quick_check(10)")

    def write(self, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Always raises."""
        raise AssertionError("an inspection writes nothing")

    def sync(self) -> None:
        """Do nothing: an inspection promises nothing about durability."""

    def close(self) -> None:
        """Close the connection."""
        self._shut()


def refuse_older_processes(home: Home) -> None:
    """Raise OlderProcesses if processes of an older release live in a home that has a database."""
    if home.database.exists():
        with closing(Inspection(home)) as found:
            found.refuse_older_processes()


def connect_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that writes nothing, not even the files beside a database that no process has open."""
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{how}", uri=True, timeout=2.0, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def find_flaws(connection: sqlite3.Connection, check: str) -> list[str]:
    """Return what a check of SQLite finds wrong, in sentences."""
    found = [str(row[0]) for row in connection.execute(check)]
    return [] if found == ["ok"] else found
