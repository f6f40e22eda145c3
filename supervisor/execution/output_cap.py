"""The cap on a task's output: of each stream the head and the tail are kept, the middle's disk is given back.

The task is never blocked and its file never moved: the middle becomes a hole (fallocate(2), FALLOC_FL_PUNCH_HOLE),
which whoever reads the output is told of.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

#: Seconds between two looks at an output that grows fast, and at one that does not.
SOONEST, LATEST = 0.02, 2.0

#: Holes are punched in whole blocks.
BLOCK = 4096

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02


class Cap:
    """Keeps one file small, however much is written to it."""

    def __init__(self, path: Path, limit: int, now: float) -> None:
        """At most about `limit` bytes on disk; `now` is when it was empty (seconds)."""
        self._path = path
        self._limit = limit
        self._size = 0
        self._punched = _down(limit // 2)
        self._at = now
        self.next_at = now + SOONEST

    def look(self, now: float) -> None:
        """Give back what is too much by now, and decide when to look again: before another quarter is written."""
        size = self.trim()
        rate = (size - self._size) / max(now - self._at, 0.001)
        rest = self._limit / 4 / rate if rate > 0 else LATEST
        self._size, self._at = size, now
        self.next_at = now + min(max(rest, SOONEST), LATEST)

    def trim(self) -> int:
        """Give back what is too much; how long the file is, with its hole."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return 0
        end = _down(size - self._limit // 2)
        if end > self._punched:
            punch(self._path, self._punched, end)
            self._punched = end
        return size


def punch(path: Path, start: int, end: int) -> None:
    """Give back the disk of a stretch of a file; where the system cannot, the file stays as it is."""
    if sys.platform != "linux":
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        offset, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
        ctypes.CDLL(None).fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length)
    finally:
        os.close(descriptor)


def _down(size: int) -> int:
    return size // BLOCK * BLOCK
