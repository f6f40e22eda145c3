"""The write-ahead log: its length, and the processes that keep it from being truncated."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from .... import clock
from ....home import Home
from ....machine import proc

#: The bytes of the `-shm` file that a connection locks while it reads (sqlite.org/walformat.html, "WAL locks").
READING = range(123, 128)

#: The number of times that the readers are listed again, and the seconds between two listings.
LOOKS, LOOK = 5, 0.02

#: The maximum seconds until a supervisor has saved a deleted log.
SAVE_TIMEOUT = 1.0

#: Heads of a write-ahead log (page size, salts) and of each frame in it (salts): sqlite.org/fileformat2.html, 4.1.
LOG_HEAD, FRAME_HEAD = struct.Struct(">8xI4x8s8x"), struct.Struct(">8x8s8x")


def openers(paths: Iterable[Path]) -> list[int]:
    """Return the other processes that have one of these files open, if this user may see them."""
    files = {file for path in paths if (file := proc.file_id(path)) is not None}
    return sorted(set(proc.pids_with_open(files)) - {os.getpid()})


def readers(database: Path) -> list[int]:
    """Return the processes that keep the log of a database from being truncated by a long read. Linux only.

    A process that is a reader in every listing has a long read. A short read ends between two listings.
    """
    shared = proc.file_id(f"{database}-shm")
    if shared is None or not proc.LINUX:
        return []
    pids = _reading(shared[1])
    for _ in range(LOOKS):
        clock.nap(LOOK)
        pids &= _reading(shared[1])
    return sorted(pids)


def _reading(inode: int) -> set[int]:
    return {pid for pid, byte in proc.read_locks(inode) if byte in READING}


def file_ids(database: str) -> tuple[proc.FileId | None, ...]:
    """Return the device and inode of the database, of its log and of the index of the log, or None if one is absent."""
    return proc.file_id(database), proc.file_id(f"{database}-wal"), proc.file_id(f"{database}-shm")


def size(database: str) -> int:
    """Return the size of the write-ahead log in bytes."""
    try:
        return os.stat(f"{database}-wal").st_size
    except FileNotFoundError:
        return 0


def wait_for_log(home: Home) -> None:
    """Wait until a running supervisor has saved a log that was deleted, before this process creates another log."""
    log = f"{home.database}-wal"
    if os.path.exists(log) or not os.path.exists(home.database):
        return
    from ....machine.presence import Presence

    if Presence(home).holder("supervisor") in (None, os.getpid()):
        return
    home.wake("supervisor")
    deadline = clock.monotonic() + SAVE_TIMEOUT
    while not os.path.exists(log) and clock.monotonic() < deadline:
        clock.nap(LOOK)


def exceeds(database: str, length: int) -> bool:
    """Return True if the write-ahead log has grown beyond `length` bytes since SQLite restarted it.

    SQLite restarts the log in the same file, so the file may be larger than the log. The frame at that length belongs
    to the current log if it has the same salts as the head of the log.
    """
    try:
        with open(f"{database}-wal", "rb", buffering=0) as log:
            page_size, salts = LOG_HEAD.unpack(log.read(LOG_HEAD.size))
            frame = page_size + FRAME_HEAD.size
            log.seek(LOG_HEAD.size + length // frame * frame)
            return bool(FRAME_HEAD.unpack(log.read(FRAME_HEAD.size)) == (salts,))
    except (FileNotFoundError, struct.error):  # the log is shorter or absent
        return False
