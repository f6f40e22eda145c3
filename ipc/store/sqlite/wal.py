"""Who has a file open, and who keeps a database's log from being shortened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ... import clock
from ...machine import proc

#: The bytes of a `-shm` file that a connection locks while it reads (sqlite.org/walformat.html, "WAL locks").
READING = range(123, 128)

#: Further looks at who reads, and the seconds between them.
LOOKS, LOOK = 5, 0.02


def openers(paths: Iterable[Path]) -> list[int]:
    """The processes, other than this one, that have one of these files open, as far as they may be seen."""
    files = {found for path in paths if (found := proc.file_id(path)) is not None}
    return sorted(set(proc.pids_with_open(files)) - {os.getpid()})


def readers(database: Path) -> list[int]:
    """The processes that read a database and do not come to an end: its log cannot be shortened below what they see.

    Linux only. Who reads for a moment, as all of ours do, is not at it at each of some looks.
    """
    shared = proc.file_id(f"{database}-shm")
    if shared is None or not proc.LINUX:
        return []
    found = _reading(shared[1])
    for _ in range(LOOKS):
        clock.nap(LOOK)
        found &= _reading(shared[1])
    return sorted(found)


def _reading(inode: int) -> set[int]:
    return {pid for pid, byte in proc.read_locks(inode) if byte in READING}
