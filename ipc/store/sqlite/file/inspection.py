"""Read a database without writing anything."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, closing
from pathlib import Path
from urllib.parse import quote

from ....errors import NewerSchema, Permanent
from ....home import Home
from ..store import SqliteStore
from .database import SCHEMA
from .errors import translated
from .migration_lock import FIRST_LIVE, refuse_living
from .transaction import Transaction


class Inspection(SqliteStore):
    """A home's database, opened read-only. No file is written or created, and nothing is migrated."""

    def _connect(self) -> sqlite3.Connection:
        return connect_reading(self.home.database)

    def _prepare(self) -> None:
        """Skip migration: the file is opened read-only."""

    def version(self) -> int:
        """Return the version of the schema. Raises Damaged, Temporary."""
        with translated(self.home):
            return self._version()

    def refuse_older_processes(self) -> None:
        """Raise OlderProcesses if processes run here that a restart with this program could not take over."""
        with translated(self.home):
            version = self._version()
            if 0 < version < FIRST_LIVE:
                refuse_living(self.home, version, self._registered())

    def refuse_other_schemas(self) -> None:
        """Raise NewerSchema or Permanent if this program does not know the tables. Raises Damaged, Temporary."""
        version = self.version()
        if version > SCHEMA:
            raise NewerSchema(f"The database in {self.home.folder} has a newer schema ({version}); upgrade backburner.")
        if version < SCHEMA:
            raise Permanent(f"The database in {self.home.folder} is of an older release; run there: backburner up")

    def flaws(self) -> list[str]:
        """Return up to ten problems that SQLite finds in the file. Raises Damaged, Temporary."""
        with self._mutex, translated(self.home):
            return find_flaws(self._connection, "PRAGMA quick_check(10)")

    def write(self, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Raise AssertionError: an inspection is read-only."""
        raise AssertionError("an inspection writes nothing")

    def sync(self) -> None:
        """Do nothing: reports of an inspection need not be durable."""

    def close(self) -> None:
        """Close the connection."""
        self._shut()


def refuse_older_processes(home: Home) -> None:
    """Raise OlderProcesses if processes of an older release run in a home with a database."""
    if home.database.exists():
        with closing(Inspection(home)) as inspection:
            inspection.refuse_older_processes()


def connect_reading(path: Path) -> sqlite3.Connection:
    """Return a read-only connection. It does not create a log beside a database that no process has open."""
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{mode}", uri=True, timeout=2.0, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def find_flaws(connection: sqlite3.Connection, check: str) -> list[str]:
    """Return the problems that a check of SQLite finds."""
    flaws = [str(row[0]) for row in connection.execute(check)]
    return [] if flaws == ["ok"] else flaws
