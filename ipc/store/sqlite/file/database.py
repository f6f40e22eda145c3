"""The connection to the database: one per process, with one way to read and one way to write."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from ....errors import Damaged, NewerSchema, Temporary
from ....failpoints import failpoint
from ....home import Home
from ....machine.identity import boot_id
from ....machine.proc import FileId
from . import wal
from .counters import advance_counters_past, disown_foreign_processes, skip_counters_ahead
from .errors import damage, raise_translated, translated
from .group_commit import GroupCommit
from .migration_lock import migration_lock
from .transaction import Transaction
from .write_gate import WriteGate

#: The version of the schema that this program writes, in `PRAGMA user_version`.
SCHEMA = 8

#: The size of the write-ahead log, in bytes, above which a writer checkpoints it before it releases the gate.
CHECKPOINT_AT = 8 * 1024 * 1024

#: A writer checks the length of the log once in this many transactions.
CHECKPOINT_LOOK = 64


class _Write:
    """The context manager of one write transaction. A generator would cost a tenth of the time of a launch."""

    __slots__ = ("_database", "_durable", "_number")

    def __init__(self, database: Database, durable: bool) -> None:
        self._database = database
        self._durable = durable
        self._number = 0  # the transaction's number in the group commit, or 0 if it has none

    def __enter__(self) -> Transaction:
        database = self._database
        with translated(database.home):
            database._mutex.acquire()
            try:
                self._begin()
            except BaseException:
                database._mutex.release()
                raise
        return database._transaction

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        database = self._database
        with translated(database.home):
            try:
                self._finish(error)
            finally:
                database._mutex.release()
        if error is not None:
            raise_translated(database.home, error)
        elif self._durable:
            database.sync()

    def _begin(self) -> None:
        database = self._database
        database._reopen_if_replaced()
        database._gate.acquire()
        try:
            database._first_of_this_boot()
            if database.durability == "full":
                self._number = database._commits.start()
            database._begin("NORMAL")
        except BaseException:
            self._release_gate()
            raise

    def _finish(self, error: BaseException | None) -> None:
        database = self._database
        try:
            if error is not None:
                database._roll_back()
                return
            database._commit()
            self._end()
            database._note_commit()
        finally:
            self._release_gate()

    def _release_gate(self) -> None:
        try:
            self._end()
        finally:
            self._database._gate.release()

    def _end(self) -> None:
        if self._number:
            number, self._number = self._number, 0
            self._database._commits.finish(number)


class Database:
    """One process's connection to a home's database. Threads may share it. Call `release` before a fork."""

    def __init__(self, home: Home, durability: str = "full") -> None:
        """Open the home's database. Create or migrate it if necessary.

        Raises:
            NewerSchema: A newer release has migrated the database.
            OlderProcesses: Processes of an older release run in the home.
            Permanent: The file is not a database.
            Temporary: The database is locked or unreadable now, or the disk is full.
        """
        self.home = home
        self.durability = durability
        self._gate = WriteGate.of(home.lock("gate"))
        self._mutex = threading.RLock()
        self._files: tuple[FileId | None, ...] = ()
        self._written = 0
        self._in_write = False
        self._path = str(home.database)
        with translated(home):
            self._open()

    def _open(self) -> None:
        self._boot_seen = False
        self._synchronous = ""
        gate = WriteGate.of(self.home.lock("sync"))
        self._commits = GroupCommit(self.home.folder / "commits", f"{self._path}-wal", gate)
        self._connection = self._connect()
        self._transaction = Transaction(self._connection)
        try:
            self._prepare()
        except BaseException:
            self._shut()
            self._files = ()
            raise
        self._files = wal.file_ids(self._path)

    def _shut(self) -> None:
        self._connection.close()
        self._commits.close()

    def _connect(self) -> sqlite3.Connection:
        wal.wait_for_log(self.home)
        return _connect(self.home)

    def _prepare(self) -> None:
        version = self._version()
        if version > SCHEMA:
            raise NewerSchema(
                f"The database in {self.home.folder} has schema {version}, this backburner knows {SCHEMA}; upgrade it."
            )
        if version < SCHEMA:
            self._migrate()
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._connection.execute("PRAGMA foreign_keys = ON")

    def _reopen_if_replaced(self) -> None:
        """Open the database again if its file or its log was replaced, because other processes use the new files."""
        files = wal.file_ids(self._path)
        if files == self._files:
            return
        if files[0] is None:
            raise Temporary(f"The database of {self.home.folder} is gone.")
        if files[:1] == self._files[:1]:
            self._save_deleted_log()
        self._shut()
        self._open()

    def _save_deleted_log(self) -> None:
        """Copy the log into the database if it was deleted. After the first commit to a new log, it is too late."""
        with self._gate:
            if not wal.exceeds(self._path, 0):
                with suppress(sqlite3.Error):
                    self._checkpoint("PASSIVE")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        from sqlite_utils import Database as Tables  # takes 150 ms, so it is imported before the gate is taken

        from .migrations import migrations

        with self._gate:
            version = self._version()
            if version == SCHEMA:  # another process was faster
                return
            with migration_lock(self.home, version, self._registered) if version else nullcontext():
                self._connection.execute("PRAGMA journal_mode = WAL")
                with self._synced_transaction():
                    migrations.apply(Tables(self._connection, execute_plugins=False))
                    self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _registered(self) -> Sequence[Mapping[str, Any]]:
        return [dict(row) for row in self._transaction.fetch_all("list_registered")]

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a read transaction on one snapshot, which is durable when the block ends.

        Keep the block short, because a reader keeps the write-ahead log from being reused.
        """
        with self._mutex, translated(self.home):
            if self._in_write:
                yield self._transaction
                return
            self._reopen_if_replaced()
            self._connection.execute("BEGIN")
            try:
                yield self._transaction
            finally:
                self._connection.execute("COMMIT")
        self.sync()

    def write(self, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Open a write transaction; an exception in the block rolls it back.

        With `durable` and the durability "full", it survives a power loss once the block has ended. It always survives
        the death of any process. Raises GateBusy, Unsynced, Temporary, MoveNotAllowed.
        """
        return _Write(self, durable)

    def sync(self) -> None:
        """Make all that can be read now survive a power loss, if the durability is "full".

        Raises Unsynced, GateBusy. After either error, it is unknown whether the data is durable.
        """
        if self.durability == "full" and not self._in_write:
            with translated(self.home):
                self._commits.sync()

    @contextmanager
    def _synced_transaction(self) -> Iterator[None]:
        """Open a write transaction that is synced at its commit. The caller holds the gate."""
        self._begin("FULL")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._commit()

    def _begin(self, synchronous: str) -> None:
        self._set_synchronous(synchronous)
        self._connection.execute("BEGIN IMMEDIATE")
        self._in_write = True

    def _commit(self) -> None:
        try:
            with failpoint("database.commit"):
                self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._in_write = False

    def _roll_back(self) -> None:
        self._in_write = False
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _set_synchronous(self, synchronous: str) -> None:
        if synchronous != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous

    def _first_of_this_boot(self) -> None:
        """Skip the numbers of commits that a power loss before this boot may have undone."""
        if self._boot_seen:
            return
        boot = boot_id()
        with self._synced_transaction():
            known = self._transaction.setting("boot")
            if known != boot:
                if known is not None:
                    skip_counters_ahead(self._transaction)
                self._transaction.run("set_setting", {"name": "boot", "value": boot})
            disown_foreign_processes(self._transaction, self.home.id)
        self._boot_seen = True

    def _note_commit(self) -> None:
        """Checkpoint once in `CHECKPOINT_LOOK` commits, if the log has grown long."""
        self._written += 1
        if self._written % CHECKPOINT_LOOK == 0 and wal.exceeds(self._path, CHECKPOINT_AT):
            self._checkpoint("PASSIVE")

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log in bytes."""
        return wal.size(self._path)

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database; truncate it if no process reads from it."""
        with self._mutex, translated(self.home), self._gate:
            busy, frames, copied = self._checkpoint("PASSIVE")
            if not busy and frames == copied:
                self._checkpoint("TRUNCATE")

    def _checkpoint(self, mode: str) -> tuple[int, int, int]:
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy, frames, copied = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            return busy, frames, copied
        finally:
            self._connection.execute("PRAGMA busy_timeout = 2000")

    def copy_to(self, path: Path) -> None:
        """Copy a snapshot of the database into an empty file. Readers and writers do not wait.

        Raises Temporary, Permanent.
        """
        with (
            translated(self.home),
            closing(_connect(self.home)) as source,
            translated(path),
            closing(sqlite3.connect(path, isolation_level=None)) as copy,
        ):
            with failpoint("backup.copy"):
                source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # without a log the copy can be read on a read-only medium

    def advance_counters_past(self, other: Database) -> None:
        """Skip the numbers that another database has given. Raises GateBusy, Temporary."""
        with other.read() as known, self.write() as transaction:
            advance_counters_past(transaction, known)

    def replace_contents_with(self, other: Database) -> None:
        """Replace all contents with the contents of another database, in one transaction.

        The next numbers are new to both databases. The log keeps its ID only if both databases have the same log ID.
        Discard `other` afterwards. Raises GateBusy, Temporary.
        """
        with self._mutex, translated(self.home):
            self._reopen_if_replaced()
            with self._gate:
                self._first_of_this_boot()
                with other.write() as transaction:
                    advance_counters_past(transaction, self._transaction)
                self._set_synchronous("FULL")
                with failpoint("restore.become"):
                    other._connection.backup(self._connection)
                self._boot_seen = False

    def changed(self) -> int:
        """Return a number that changes whenever another process commits."""
        with self._mutex, translated(self.home):
            self._reopen_if_replaced()
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close the connection under the gate, because SQLite may checkpoint at this point. Raises GateBusy."""
        with self._mutex:
            try:
                with self._gate:
                    self._shut()
            except OSError:  # the home is gone or inaccessible, so no other process can use its database either
                self._shut()

    def release(self) -> None:
        """Close the connection before a fork. The next transaction opens it again. Raises GateBusy."""
        with self._mutex:
            self.close()
            self._files = ()


def _connect(home: Home) -> sqlite3.Connection:
    _create_private(home.database)
    _refuse_wal_without_database(home.database)
    connection = sqlite3.connect(
        home.database, timeout=2.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.row_factory = sqlite3.Row
    return connection


def _refuse_wal_without_database(path: Path) -> None:
    """Raise Damaged for an empty file with a log: SQLite would take it for a new database and delete the log."""
    log = f"{path}-wal"
    if os.stat(path).st_size == 0 and os.path.exists(log) and os.stat(log).st_size > 0:
        raise Damaged(damage(path, "it is empty, but its write-ahead log is not"))


def _create_private(path: Path) -> None:
    """Create the file with mode 0600. Never open it again: closing a descriptor would drop SQLite's own locks."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


def sqlite_version() -> str:
    """Return the version of SQLite."""
    return sqlite3.sqlite_version
