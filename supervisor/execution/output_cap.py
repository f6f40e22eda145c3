"""Limit the disk space of an output. The head and the tail are kept, and the middle is freed.

The task is never blocked, and its file is never moved. The middle becomes a hole (fallocate(2), FALLOC_FL_PUNCH_HOLE),
which is reported to readers of the output.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

#: The minimum and the maximum of the seconds between two checks of an output.
MIN_INTERVAL, MAX_INTERVAL = 0.02, 2.0

#: Holes are punched in whole blocks.
BLOCK = 4096

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02


class OutputCap:
    """Limits the disk space of one file of any length."""

    def __init__(self, path: Path, limit: int, now: float) -> None:
        """Allow about `limit` bytes on disk for a file that was empty at `now` (seconds)."""
        self._path = path
        self._limit = limit
        self._size = 0
        self._punched = _round_down(limit // 2)
        self._checked_at = now
        self.next_at = now + MIN_INTERVAL

    def check(self, now: float) -> None:
        """Free what exceeds the limit, and schedule the next check before another quarter of the limit is written."""
        size = self.trim()
        rate = (size - self._size) / max(now - self._checked_at, 0.001)
        interval = self._limit / 4 / rate if rate > 0 else MAX_INTERVAL
        self._size, self._checked_at = size, now
        self.next_at = now + min(max(interval, MIN_INTERVAL), MAX_INTERVAL)

    def trim(self) -> int:
        """Free what exceeds the limit. Return the length of the file, including its hole."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return 0
        end = _round_down(size - self._limit // 2)
        if end > self._punched:
            punch_hole(self._path, self._punched, end)
            self._punched = end
        return size


def punch_hole(path: Path, start: int, end: int) -> None:
    """Free the disk space of a range of a file. On systems other than Linux, the file stays unchanged."""
    if sys.platform != "linux":
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        offset, length = ctypes.c_int64(start), ctypes.c_int64(end - start)
        ctypes.CDLL(None).fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length)
    finally:
        os.close(descriptor)


def _round_down(size: int) -> int:
    return size // BLOCK * BLOCK
