"""The home's folder and its files."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ...ipc.errors import BadHome, OlderProcesses
from ...ipc.home import Home
from ...ipc.store.sqlite.database import SCHEMA, Inspection
from ...ipc.store.sqlite.wal import readers
from .finding import NOTE, Finding

MEGABYTE = 1024 * 1024

#: Bytes and files that must be free, lest a burst of outputs fill the disk.
ROOM, FILES = 256 * MEGABYTE, 1000

#: A write-ahead log that is longer is kept from being shortened.
LONG_LOG = 64 * MEGABYTE

PRIVATE = ("backburner.db", "backburner.db-wal", "backburner.db-shm", "supervisor.log", "config.toml", "bus.sock")


def check_home(home: Home) -> Iterator[Finding]:
    """Whether the folder may be used at all."""
    try:
        home.check()
    except BadHome as error:
        yield Finding(
            "home", str(error), "Every command refuses a home that others can change.", f"ls -ld {home.folder}"
        )


def check_permissions(home: Home) -> Iterator[Finding]:
    """Whether anybody else may look in, and whether we may write."""
    why = "Prompts, outputs and environments are nobody else's business."
    if _mode(home.folder) & 0o077:
        yield Finding("permissions", f"{home.folder} is open to others.", why, f"chmod 700 {home.folder}")
    for path in [home.folder / name for name in PRIVATE if _mode(home.folder / name) & 0o077]:
        yield Finding("permissions", f"{path} is open to others.", why, f"chmod 600 {path}")
    if os.statvfs(home.folder).f_flag & os.ST_RDONLY:
        what, why = f"The file system of {home.folder} is read-only.", "Nothing can be launched, and no end be noted."
        yield Finding("permissions", what, why, f"mount -o remount,rw {_mount_point(home.folder)}")
    elif not os.access(home.folder, os.W_OK | os.X_OK):
        what, why = f"{home.folder} may not be written.", "Nothing can be launched, and no end be noted."
        yield Finding("permissions", what, why, f"chmod u+rwx {home.folder}")


def check_space(home: Home) -> Iterator[Finding]:
    """Whether there is room on the disk."""
    free, files = shutil.disk_usage(home.folder).free, os.statvfs(home.folder)
    why = "When the disk is full, launches are refused and results wait for room."
    if free < ROOM:
        yield Finding("space", f"{free // MEGABYTE} MB are free for {home.folder}.", why, "backburner prune")
    if files.f_files and files.f_favail < FILES:
        yield Finding("space", f"{files.f_favail} more files fit beside {home.folder}.", why, "backburner prune")


def check_leftovers(home: Home) -> Iterator[Finding]:
    """What a salvage set aside, or left when it was killed."""
    why = "It takes room, and nothing reads it any more."
    for path in sorted([*home.folder.glob("damaged-*.db"), *home.folder.glob("mending-*")]):
        mend = f"when you do not need it any more: rm -r {path}*"
        yield Finding("leftovers", f"{path} was left by backburner salvage or restore.", why, mend, NOTE)


def check_integrity(database: Inspection) -> Iterator[Finding]:
    """Whether the file is sound, and ours to read."""
    for flaw in database.flaws():
        what, why = f"{database.home.database} is damaged: {flaw}", "What cannot be read is lost, and more may follow."
        yield Finding("integrity", what, why, "backburner down && backburner salvage")
    if database.version() < SCHEMA:
        yield _older_schema(database)


def _older_schema(database: Inspection) -> Finding:
    try:
        database.refuse_older_processes()
    except OlderProcesses as error:
        what, _, remedy = str(error).partition(". First: ")
        return Finding("schema", what, "This release cannot use it meanwhile.", remedy)
    what = f"The database has schema {database.version()}, this program {SCHEMA}."
    return Finding("schema", what, "It will be migrated.", "backburner restart", NOTE)


def check_log_size(database: Inspection) -> Iterator[Finding]:
    """Whether the write-ahead log is kept from being shortened, and by whom."""
    size = database.wal_bytes()
    if size > LONG_LOG:
        pids = [str(pid) for pid in readers(database.home.database)]
        by = f"; process {', '.join(pids)} reads the database and pins it" if pids else ""
        why = "It grows without end while somebody reads an old state."
        mend = f"kill {' '.join(pids)}" if pids else "backburner restart"
        yield Finding("wal", f"The write-ahead log has {size // MEGABYTE} MB{by}.", why, mend)


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _mount_point(path: Path) -> Path:
    while not path.is_mount():
        path = path.parent
    return path
