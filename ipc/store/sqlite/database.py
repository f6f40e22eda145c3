"""The only module that opens SQLite: one connection per process, one way to read, one way to write."""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import clock
from ...errors import Damaged, MoveNotAllowed, NewerSchema, Temporary
from ...failpoints import failpoint
from ...home import Home
from ...machine.boot import boot_id
from .group_commit import Commits
from .migration_lock import FIRST_LIVE, migration_lock, refuse_living
from .sql import statement, statement_for
from .write_gate import Gate

#: The schema this program writes; `PRAGMA user_version` of a home.
SCHEMA = 6

#: Bytes of write-ahead log after which a writer, still holding the gate, copies it into the database.
CHECKPOINT_AT = 8 * 1024 * 1024

#: A writer looks at the log's length once in so many transactions.
CHECKPOINT_LOOK = 64

#: Heads of a write-ahead log (page size, salts) and of each frame in it (salts): sqlite.org/fileformat2.html, 4.1.
LOG_HEAD, FRAME_HEAD = struct.Struct(">8xI4x8s8x"), struct.Struct(">8x8s8x")

#: What `seq` and the claim counter jump ahead by when numbers may have been lost that somebody saw: at a
#: new boot and after a restore. 2^21 such jumps stay below 2^53, the last whole number that JSON readers agree on.
JUMP = 2**32

#: More bytes than there are.
ENDLESS = 2**62

Row = sqlite3.Row
Values = Mapping[str, Any]


class Transaction:
    """What may be said to the database between its beginning and its end: named statements."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Speak on this connection."""
        self._connection = connection

    def run(self, name: str, values: Values | None = None) -> int:
        """Run a statement; how many rows it changed."""
        return self._connection.execute(statement(name), values or {}).rowcount

    def one(self, name: str, values: Values | None = None) -> Row | None:
        """The first row of a statement, or None. A change with RETURNING is carried out whole."""
        rows = self._connection.execute(statement(name), values or {}).fetchall()
        return rows[0] if rows else None

    def all(self, name: str, values: Values | None = None) -> list[Row]:
        """All rows of a statement."""
        return self._connection.execute(statement(name), values or {}).fetchall()

    def some(self, name: str, values: Values, room: int) -> tuple[list[Row], bool]:
        """The first rows of a statement, until they fill so many bytes, at least one; and whether that is all."""
        rows: list[Row] = []
        with closing(self._connection.execute(statement(name), values)) as cursor:
            for row in cursor:
                rows.append(row)
                room -= sum(len(value) for value in row if isinstance(value, str | bytes))
                if room <= 0:
                    return rows, False
        return rows, True

    def page(self, name: str, values: Values, room: int) -> tuple[list[Any], bool]:
        """Like `some`, but return plain tuples and count the last column's bytes only."""
        rows: list[Any] = []
        with closing(self._connection.execute(statement(name), values)) as cursor:
            cursor.row_factory = None
            for row in cursor:
                rows.append(row)
                room -= len(row[-1])
                if room <= 0:
                    return rows, False
        return rows, True

    def value(self, name: str, values: Values | None = None) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, values)
        return None if row is None else row[0]

    def setting(self, name: str) -> Any:
        """One setting of the home, or None."""
        return self.value("get_setting", {"name": name})

    def insert(self, name: str, row: Values) -> int:
        """Insert a row with a statement that lists its columns; return its number.

        A column whose value is None is left out and gets its default: the sqlite3 module takes ten times as long to
        bind None as to bind a number.
        """
        given = {column: value for column, value in row.items() if value is not None}
        return self._connection.execute(statement_for(name, tuple(given)), tuple(given.values())).lastrowid or 0

    def many(self, name: str, values: Iterator[Values] | list[dict[str, Any]]) -> int:
        """Run a statement once per set of values; return how many rows it changed."""
        return self._connection.executemany(statement(name), values).rowcount

    def tuples(self, name: str, values: Values) -> Generator[tuple[Any, ...]]:
        """Yield the rows of a statement as plain tuples, read as they are asked for."""
        cursor = self._connection.execute(statement(name), values)
        cursor.row_factory = None
        with closing(cursor):
            yield from cursor


class _Write:
    """The context manager of one write transaction. A stack of generators would take a tenth of a launch."""

    __slots__ = ("_database", "_durable", "_number")

    def __init__(self, database: Database, durable: bool) -> None:
        self._database = database
        self._durable = durable
        self._number = 0  # in the group commit; 0 while it is not counted there

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
        database._follow()
        database._gate.acquire()
        try:
            database._first_of_this_boot()
            if database.durability == "full":
                self._number = database._commits.begin()
            database._begin("NORMAL")
        except BaseException:
            self._leave_gate()
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
            self._leave_gate()

    def _leave_gate(self) -> None:
        try:
            self._end()
        finally:
            self._database._gate.release()

    def _end(self) -> None:
        if self._number:
            number, self._number = self._number, 0
            self._database._commits.end(number)


class Database:
    """One process's connection to a home's database. Threads may share it; a fork may not carry it (`release`)."""

    def __init__(self, home: Home, durability: str = "full") -> None:
        """Open the home's database, creating or migrating it if necessary.

        Raises NewerSchema, OlderProcesses, Permanent (not a database), Temporary (locked, full, unreadable now).
        """
        self.home = home
        self.durability = durability
        self._gate = Gate.of(home.lock("gate"))
        self._mutex = threading.RLock()
        self._written = 0
        self._in_write = False
        self._path = str(home.database)
        with translated(home):
            self._open()

    def _open(self) -> None:
        self._boot_seen = False
        self._synchronous = ""
        self._commits = Commits(self.home.folder / "commits", f"{self._path}-wal", Gate.of(self.home.lock("sync")))
        self._connection = self._connect()
        self._file = _file_id(self._path)
        self._transaction = Transaction(self._connection)
        try:
            self._prepare()
        except BaseException:
            self._shut()
            self._file = None
            raise

    def _shut(self) -> None:
        self._connection.close()
        self._commits.close()

    def _connect(self) -> sqlite3.Connection:
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

    def _follow(self) -> None:
        """Where the home was made anew, go on in the file that is there now: nobody else sees the one that is open.

        SQLite leaves alone, on closing, what lies beside a file that was moved or deleted.
        """
        found = _file_id(self._path)
        if found is None:
            raise Temporary(f"The database of {self.home.folder} is gone.")
        if found != self._file:
            self._shut()
            self._open()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        from sqlite_utils import Database as Tables  # 150 ms, paid once in the life of a home, outside the gate

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

    def _registered(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._transaction.all("list_registered")]

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One consistent view, which may be told. Keep it short: the log cannot shrink below a reader."""
        with self._mutex, translated(self.home):
            if self._in_write:
                yield self._transaction
                return
            self._follow()
            self._connection.execute("BEGIN")
            try:
                yield self._transaction
            finally:
                self._connection.execute("COMMIT")
        self.sync()

    def write(self, durable: bool = True) -> AbstractContextManager[Transaction]:
        """One transaction of one writer: all of it, or, if anything is raised, nothing.

        `durable` says that the caller tells of it: where the durability is "full" it outlives a power loss then. It
        outlives the death of any process in any case. Raises GateBusy, Unsynced, Temporary, MoveNotAllowed.
        """
        return _Write(self, durable)

    def sync(self) -> None:
        """Have all that can be read now outlive a power loss, where the durability is "full".

        Raises Unsynced, GateBusy: then nobody knows whether it would.
        """
        if self.durability == "full" and not self._in_write:
            with translated(self.home):
                self._commits.sync()

    @contextmanager
    def _synced_transaction(self) -> Iterator[None]:
        """Write something rare under the gate, synced at its commit."""
        self._begin("FULL")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self._commit()

    def _begin(self, synchronous: str) -> None:
        self._sync(synchronous)
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

    def _sync(self, synchronous: str) -> None:
        if synchronous != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous

    def _first_of_this_boot(self) -> None:
        """Numbers given before a power loss may be lost with the tail of the log: never give them again."""
        if self._boot_seen:
            return
        boot = boot_id()
        with self._synced_transaction():
            known = self._transaction.setting("boot")
            if known != boot:
                if known is not None:
                    jump(self._transaction)
                self._transaction.run("set_setting", {"name": "boot", "value": boot})
        self._boot_seen = True

    def _note_commit(self) -> None:
        """Look at the length of the log once in `CHECKPOINT_LOOK` commits."""
        self._written += 1
        if self._written % CHECKPOINT_LOOK == 0 and self._is_long():
            self._checkpoint("PASSIVE")

    def _is_long(self) -> bool:
        """Whether the log has grown long since it was begun anew.

        It is begun anew in the same file, whose size says nothing then: whose are the salts at that length?
        """
        try:
            with open(f"{self._path}-wal", "rb", buffering=0) as log:
                page_size, salts = LOG_HEAD.unpack(log.read(LOG_HEAD.size))
                frame = page_size + FRAME_HEAD.size
                log.seek(LOG_HEAD.size + CHECKPOINT_AT // frame * frame)
                return bool(FRAME_HEAD.unpack(log.read(FRAME_HEAD.size)) == (salts,))
        except (FileNotFoundError, struct.error):  # shorter than that, or not there
            return False

    def wal_bytes(self) -> int:
        """The size of the write-ahead log, in bytes."""
        try:
            return os.stat(f"{self.home.database}-wal").st_size
        except FileNotFoundError:
            return 0

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the database and, where nobody reads it any more, make it short."""
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
        """Write all of it, as it is at one moment, into an empty file; nobody has to wait meanwhile.

        Raises Temporary, Permanent.
        """
        with translated(self.home), closing(_connect(self.home)) as source, translated(path), _made(path) as copy:
            with failpoint("backup.copy"):
                source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read where nothing may be written

    def outrun(self, living: Database) -> None:
        """Never give a number here that another database has given. Raises GateBusy, Temporary."""
        with living.read() as known, self.write() as transaction:
            _outrun(transaction, known)

    def become(self, other: Database) -> None:
        """Have all that another database has, in one transaction, with numbers that neither has given yet.

        The log keeps its name only where it is this one's. `other` is of no use afterwards. Raises GateBusy, Temporary.
        """
        with self._mutex, translated(self.home):
            self._follow()
            with self._gate:
                self._first_of_this_boot()
                with other.write() as transaction:
                    _outrun(transaction, self._transaction)
                self._sync("FULL")
                with failpoint("restore.become"):
                    other._connection.backup(self._connection)
                self._boot_seen = False

    def take_in(self, wreck: Wreck) -> dict[str, int]:
        """Copy what can be read of a damaged database into this one, which is new.

        How many rows of each table there are; `given_up` are the tasks that ended because their input was lost. What
        belongs to nothing is left out. Raises Temporary.
        """
        with self._mutex, translated(self.home), self._gate:
            self._connection.execute("PRAGMA foreign_keys = OFF")
            with self._synced_transaction():
                log = self._transaction.setting("log")
                counts = {table: _pour(wreck, table, self._connection) for table in TABLES}
                for name in MENDING:
                    self._transaction.run(name)
                counts["given_up"] = self._transaction.run("fail_tasks_without_input", {"now": clock.now()})
                self._go_on_from(wreck.rows("sqlite_sequence"), log)
            self._connection.execute("PRAGMA foreign_keys = ON")
        return counts

    def _go_on_from(self, sequences: list[dict[str, Any]], log: str) -> None:
        """Move the numbers beyond those that were given; where they cannot be known, this is another log."""
        given = {row["name"]: row["seq"] for row in sequences}
        known = max(given.get("events") or 0, self._transaction.value("get_highest_seq"))
        claim = max(given.get("claims") or 0, self._transaction.value("get_highest_claim"))
        self._transaction.run("advance_seq", {"by": known - self._transaction.value("read_last_seq") + JUMP})
        self._transaction.run("advance_claims", {"by": claim - self._transaction.value("read_last_claim") + JUMP})
        if not given.get("events"):
            self._transaction.run("set_setting", {"name": "log", "value": log})

    def changed(self) -> int:
        """A number that differs when another process has committed since it was last asked for."""
        with self._mutex, translated(self.home):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Let go. The last one to close checkpoints, which only a holder of the gate may do. Raises GateBusy."""
        with self._mutex:
            try:
                with self._gate:
                    self._shut()
            except OSError:  # the home is gone, or closed to us, and the gate with it: nobody is kept out, nor need be
                self._shut()

    def release(self) -> None:
        """Close the connection, as a fork may not carry it. The next transaction opens it again. Raises GateBusy."""
        with self._mutex:
            self.close()
            self._file = None


def jump(transaction: Transaction) -> None:
    """Move `seq` and the claim counter to where they have never been."""
    transaction.run("advance_seq", {"by": JUMP})
    transaction.run("advance_claims", {"by": JUMP})


def _outrun(transaction: Transaction, living: Transaction) -> None:
    """Move a database's numbers beyond those of another one, and beyond its own."""
    for last, name in (("read_last_seq", "advance_seq"), ("read_last_claim", "advance_claims")):
        ahead = max(0, living.value(last) - transaction.value(last))
        transaction.run(name, {"by": ahead + JUMP})
    if transaction.setting("log") != living.setting("log"):
        import uuid  # most who open a home make none

        transaction.run("set_setting", {"name": "log", "value": str(uuid.uuid4())})


def _connect(home: Home) -> sqlite3.Connection:
    _create_private(home.database)
    _refuse_headless(home.database)
    connection = sqlite3.connect(
        home.database, timeout=2.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.row_factory = sqlite3.Row
    return connection


def _made(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def _refuse_headless(path: Path) -> None:
    """An empty file is a new database, and SQLite deletes what lies beside it: not where that is what was written."""
    beside = f"{path}-wal"
    if os.stat(path).st_size == 0 and os.path.exists(beside) and os.stat(beside).st_size > 0:
        raise Damaged(_damage(path, "it is empty, but its write-ahead log is not"))


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _create_private(path: Path) -> None:
    """Make the file 0600, once. Never touched again: closing a descriptor of it would drop SQLite's own locks."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


#: What SQLite's error names mean to the reader; the first that fits counts.
_MEANINGS: tuple[tuple[str, Callable[[str], Exception]], ...] = (
    ("SQLITE_NOTADB", Damaged),
    ("SQLITE_CORRUPT", Damaged),
    ("SQLITE_CONSTRAINT_TRIGGER", MoveNotAllowed),
    ("SQLITE_CONSTRAINT", AssertionError),  # our own statements broke a promise of the schema
    ("SQLITE_", Temporary),
)


class translated:
    """Say SQLite's errors in this program's classes, with the name of the home, or of the file."""

    __slots__ = ("_place",)

    def __init__(self, place: Home | Path) -> None:
        self._place = place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            raise_translated(self._place, error)


def raise_translated(place: Home | Path, error: BaseException) -> None:
    """Raise this program's error for an error of SQLite or of the system. Return for any other."""
    if isinstance(error, (sqlite3.Error, OSError)) and (meaning := _translation(place, error)) is not None:
        raise meaning from error


def _translation(place: Home | Path, error: sqlite3.Error | OSError) -> Exception | None:
    """What an error means; None where it says more than we could."""
    path, what = (place, str(place)) if isinstance(place, Path) else (place.database, f"The database in {place.folder}")
    if isinstance(error, OSError):
        folder = path.parent if isinstance(place, Path) else f"The home {place.folder}"
        return Temporary(f"{folder} cannot be used now: {error.strerror or error}.")
    if isinstance(error, sqlite3.ProgrammingError):
        return Temporary(f"{what} was closed meanwhile.") if "closed" in str(error) else None
    name = getattr(error, "sqlite_errorname", "")
    found = next((meaning for start, meaning in _MEANINGS if name.startswith(start)), None)
    if found is None:
        return None
    return found(_damage(path, error) if found is Damaged else f"{what} does not answer ({error}).")


def _damage(path: Path, why: object) -> str:
    return f"{path} is damaged ({why}). It was left as it is; save what can be read: backburner salvage"


def sqlite_version() -> str:
    """The version of SQLite in use."""
    return sqlite3.sqlite_version


class Inspection(Database):
    """A home's database, to be looked at: nothing is written, made or migrated, not even beside it."""

    def _connect(self) -> sqlite3.Connection:
        return _connect_reading(self.home.database)

    def _prepare(self) -> None:
        """It is what it is."""

    def version(self) -> int:
        """The schema's. Raises Damaged, Temporary."""
        with translated(self.home):
            return self._version()

    def refuse_older_processes(self) -> None:
        """Raise OlderProcesses if processes live here that a restart with this program could not take over."""
        with translated(self.home):
            version = self._version()
            if 0 < version < FIRST_LIVE:
                refuse_living(self.home, version, self._registered())

    def flaws(self) -> list[str]:
        """What SQLite finds wrong with the file, at most ten sentences. Raises Damaged, Temporary."""
        with self._mutex, translated(self.home):
            return _flaws(self._connection, "PRAGMA quick_check(10)")

    def write(self, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Never."""
        raise AssertionError("an inspection writes nothing")

    def sync(self) -> None:
        """Who inspects does not vouch for what is there."""

    def close(self) -> None:
        """Let go."""
        self._shut()


class Copy(Database):
    """A copy of a database: no process uses it, whichever are registered in it."""

    def _registered(self) -> list[dict[str, Any]]:
        return []


def refuse_older_processes(home: Home) -> None:
    """Raise OlderProcesses if processes of an older release live in a home that has a database."""
    if home.database.exists():
        with closing(Inspection(home)) as found:
            found.refuse_older_processes()


class Wreck:
    """A database that may be damaged, to be read as far as it can be."""

    def __init__(self, path: Path) -> None:
        """Open that file. Nothing in it is believed."""
        self.path = path
        with translated(path):
            self._connection = _connect_reading(path)

    def flaws(self) -> list[str]:
        """What SQLite finds wrong with it, at most ten sentences; what it cannot open is wrong, too."""
        try:
            return _flaws(self._connection, "PRAGMA integrity_check(10)")
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
MENDING = (
    "delete_orphaned_outputs",
    "delete_orphaned_dependencies",
    "delete_orphaned_ends",
    "delete_orphaned_inputs",
    "insert_missing_inputs",
    "clear_owners",
    "recount_pending",
)


def _pour(wreck: Wreck, table: str, connection: sqlite3.Connection) -> int:
    """Copy a table's rows, as many as can be read and fit; how many did."""
    from sqlite_utils import Database as Tables

    fresh = Tables(connection, execute_plugins=False).table(table)
    names = {column.name for column in fresh.columns}
    rows = [{name: value for name, value in row.items() if name in names} for row in wreck.rows(table)]
    newer = table in ("settings", "counters")  # a fresh database has some of these
    try:
        fresh.insert_all(rows, replace=newer, ignore=not newer)
    except sqlite3.IntegrityError:  # one is of a type that cannot be: the others stand for themselves
        for row in rows:
            with suppress(sqlite3.IntegrityError):
                fresh.insert(row, replace=newer, ignore=not newer)
    return int(fresh.count)


def _connect_reading(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing: what nobody has open is taken as it lies, without files beside it."""
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{how}", uri=True, timeout=2.0, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


def _flaws(connection: sqlite3.Connection, check: str) -> list[str]:
    found = [str(row[0]) for row in connection.execute(check)]
    return [] if found == ["ok"] else found


def flaws_of(path: Path) -> list[str]:
    """What SQLite finds wrong with a database file that nobody has open; at most ten sentences."""
    wreck = Wreck(path)
    try:
        return wreck.flaws()
    finally:
        wreck.close()
