"""Checks of the state directory, its files and its database. No other module of `supervisor` refers to SQLite."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ...ipc.config.settings import BackgroundConfig
from ...ipc.errors import BackburnerError, BadHome, Damaged, OlderProcesses
from ...ipc.home import Home, size_on_disk
from ...ipc.machine.distribution import INSTALL_HINT
from ...ipc.machine.presence import Presence
from ...ipc.store.applied_config import applied_configuration
from ...ipc.store.interface import Store
from ...ipc.store.sqlite.file.database import SCHEMA, sqlite_version
from ...ipc.store.sqlite.file.inspection import Inspection
from ...ipc.store.sqlite.file.wal import readers
from .finding import NOTE, Finding

MEGABYTE = 1024 * 1024

#: The free space and the free inodes that a burst of task outputs may need.
MIN_FREE_BYTES, MIN_FREE_FILES = 256 * MEGABYTE, 1000

#: The size from which a write-ahead log is reported. Such a log is truncated, unless a reader prevents that.
LONG_LOG = 64 * MEGABYTE

PRIVATE = (
    "backburner.db",
    "backburner.db-wal",
    "backburner.db-shm",
    "supervisor.log",
    "supervisor.log.1",
    "config.toml",
    "bus.sock",
)

#: The oldest release of SQLite that supports the schema.
OLDEST = (3, 37, 0)


@dataclass(frozen=True)
class Contents:
    """A readable database of the current schema, opened for inspection."""

    store: Store
    wal_bytes: int
    config: BackgroundConfig

    @property
    def home(self) -> Home:
        """Return the state directory."""
        return self.store.home

    @property
    def is_supervised(self) -> bool:
        """Return True if a supervisor runs."""
        return Presence(self.home).is_held("supervisor")

    @property
    def start_command(self) -> str:
        """Return the command that starts or restarts the supervisor."""
        return "backburner restart" if self.is_supervised else "backburner up --detach"


def check_database(home: Home, checks: Iterable[Callable[[Contents], Iterator[Finding]]]) -> list[Finding]:
    """Check the database's file and schema, then its contents if they have this program's schema."""
    if not home.database.exists():
        return []
    try:
        with closing(Inspection(home)) as database:
            findings = [*_check_integrity(database), *_check_schema(database)]
            if database.version() == SCHEMA:
                contents = Contents(database, database.wal_bytes(), applied_configuration(database))
                findings += chain.from_iterable(check(contents) for check in checks)
            return findings
    except Damaged as error:
        return [Finding("integrity", str(error), "No task can be read.", "backburner salvage")]
    except BackburnerError as error:
        return [Finding("database", str(error), "No task can be read.", "see the other findings")]


def _check_integrity(database: Inspection) -> Iterator[Finding]:
    for flaw in database.flaws():
        what = f"{database.home.database} is damaged: {flaw}"
        why = "Unreadable tasks are lost, and the damage may spread."
        yield Finding("integrity", what, why, "backburner down && backburner salvage")


def _check_schema(database: Inspection) -> Iterator[Finding]:
    version = database.version()
    what = f"The database has schema {version}, this program has schema {SCHEMA}."
    if version > SCHEMA:
        fix = f"install the newer backburner that wrote it: {INSTALL_HINT}"
        yield Finding("schema", what, "A newer backburner wrote it.", fix)
    elif version < SCHEMA:
        yield _older_schema(database, what)


def _older_schema(database: Inspection, what: str) -> Finding:
    try:
        database.refuse_older_processes()
    except OlderProcesses as error:
        what, _, fix = str(error).partition(". First: ")
        return Finding("schema", what, "This release cannot use the database until they have ended.", fix)
    return Finding("schema", what, "The next supervisor migrates it.", "backburner restart", NOTE)


def check_engine(version: str | None = None) -> Iterator[Finding]:
    """Report a SQLite that is too old. The write gate avoids the bugs of later releases."""
    version = version or sqlite_version()
    numbers = tuple(map(int, version.split(".")))
    if numbers < OLDEST:
        what, why = f"SQLite is {version}, older than 3.37.", "The database uses features of newer releases."
        yield Finding("sqlite", what, why, f"upgrade the SQLite of {sys.executable}")


def check_home(home: Home) -> Iterator[Finding]:
    """Report a state directory that every command refuses."""
    try:
        home.check()
    except BadHome as error:
        why = "Every command refuses a state directory that other users can change."
        yield Finding("home", str(error), why, f"ls -ld {home.folder}")


def check_permissions(home: Home) -> Iterator[Finding]:
    """Report files that other users can read, and a state directory that cannot be written."""
    why = "Prompts, outputs and environments are private."
    if _mode(home.folder) & 0o077:
        yield Finding("permissions", f"Other users can open {home.folder}.", why, f"chmod 700 {home.folder}")
    for path in [home.folder / name for name in PRIVATE if _mode(home.folder / name) & 0o077]:
        yield Finding("permissions", f"Other users can open {path}.", why, f"chmod 600 {path}")
    why = "No task can be launched, and no outcome can be stored."
    if os.statvfs(home.folder).f_flag & os.ST_RDONLY:
        what = f"The file system of {home.folder} is read-only."
        yield Finding("permissions", what, why, f"mount -o remount,rw {_mount_point(home.folder)}")
    elif not os.access(home.folder, os.W_OK | os.X_OK):
        yield Finding("permissions", f"{home.folder} is not writable.", why, f"chmod u+rwx {home.folder}")


def check_space(home: Home) -> Iterator[Finding]:
    """Report a disk that is almost full."""
    free, files = shutil.disk_usage(home.folder).free, os.statvfs(home.folder)
    why = "When the disk is full, launches are refused and outcomes are stored late."
    if free < MIN_FREE_BYTES:
        yield Finding("space", f"{free // MEGABYTE} MB are free for {home.folder}.", why, "backburner prune")
    if files.f_files and files.f_favail < MIN_FREE_FILES:
        what = f"The file system of {home.folder} has room for only {files.f_favail} more files."
        yield Finding("space", what, why, "backburner prune")


def check_outputs(contents: Contents) -> Iterator[Finding]:
    """Report the running task with the largest output while the disk is almost full."""
    home = contents.home
    if shutil.disk_usage(home.folder).free >= MIN_FREE_BYTES:
        return
    sizes = {
        task.id: sum(size_on_disk(home.output(task.claim, stream)) for stream in ("stdout", "stderr"))
        for task in contents.store.hosts.running()
    }
    id = max(sizes, key=lambda id: sizes[id], default=None)
    if id is not None and sizes[id] >= MEGABYTE:
        what = f"The output of the running task {id} takes {sizes[id] // MEGABYTE} MB."
        yield Finding("outputs", what, "It may be what fills the disk.", f"backburner cancel {id}")


def check_leftovers(home: Home) -> Iterator[Finding]:
    """Report the damaged databases that `salvage` has set aside, and the files of a `salvage` that was killed."""
    for path in sorted([*home.folder.glob("damaged-*.db"), *home.folder.glob("scratch-*")]):
        what, why = f"{path} is left from backburner salvage or restore.", "It takes space and is no longer used."
        yield Finding("leftovers", what, why, f"rm -r {path}*  (when you no longer need it)", NOTE)


def check_log_size(contents: Contents) -> Iterator[Finding]:
    """Report a write-ahead log that cannot be truncated, with the processes that prevent it."""
    size = contents.wal_bytes
    if size > LONG_LOG:
        pids = [str(pid) for pid in readers(contents.home.database)]
        by = f"; process {', '.join(pids)} reads an old state of the database" if pids else ""
        what = f"The write-ahead log has {size // MEGABYTE} MB{by}."
        fix = f"kill {' '.join(pids)}" if pids else "backburner restart"
        yield Finding("wal", what, "It grows for as long as a process reads an old state.", fix)


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _mount_point(path: Path) -> Path:
    while not path.is_mount():
        path = path.parent
    return path
