"""Who has a file open, and who keeps a database's log from being shortened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ... import clock

#: The bytes of a `-shm` file that a connection locks while it reads (sqlite.org/walformat.html, "WAL locks").
READING = range(123, 128)

#: Further looks at who reads, and the seconds between them.
LOOKS, LOOK = 5, 0.02


def openers(paths: Iterable[Path]) -> list[int]:
    """The processes, other than this one, that have one of these files open, as far as they may be seen."""
    wanted = {_id(path) for path in paths} - {None}
    found = _openers_by_proc(wanted) if sys.platform == "linux" else _openers_by_psutil(wanted)
    return sorted(set(found) - {os.getpid()})


def readers(database: Path) -> list[int]:
    """The processes that read a database and do not come to an end: its log cannot be shortened below what they see.

    Linux only. Who reads for a moment, as all of ours do, is not at it at each of some looks.
    """
    shared = _id(Path(f"{database}-shm"))
    if shared is None or sys.platform != "linux":
        return []
    found = _reading(shared[1])
    for _ in range(LOOKS):
        clock.nap(LOOK)
        found &= _reading(shared[1])
    return sorted(found)


def _reading(inode: int) -> set[int]:
    lines = Path("/proc/locks").read_text().splitlines()
    return {pid for line in lines for pid in _reader(line.split(), inode)}


def _reader(words: list[str], inode: int) -> Iterator[int]:
    """Of `1: POSIX  ADVISORY  READ 4711 08:01:131 124 124`: 4711. What only waits has an arrow in it."""
    if len(words) == 8 and words[3] == "READ" and words[5].endswith(f":{inode}") and int(words[6]) in READING:
        yield int(words[4])


def _openers_by_proc(wanted: set[tuple[int, int] | None]) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and any(_target(path) in wanted for path in _listed(Path("/proc", name, "fd"))):
            yield int(name)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # gone, or another user's
        return []


def _target(path: Path) -> tuple[int, int] | str:
    return _id(path) or "gone"


def _openers_by_psutil(wanted: set[tuple[int, int] | None]) -> Iterator[int]:
    import psutil

    for process in psutil.process_iter():
        try:
            files = process.open_files()
        except psutil.Error:
            continue
        if any(_target(Path(file.path)) in wanted for file in files):
            yield process.pid


def _id(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
