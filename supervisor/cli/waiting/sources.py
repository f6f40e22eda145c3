"""The stdin of `run`, as a source of bytes for the attempts of its task."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

#: Bytes read at a time.
CHUNK = 64 * 1024


class Source(Protocol):
    """Bytes that can be read from any offset at which an attempt begins or continues."""

    #: True if a second attempt can read everything again.
    is_repeatable: bool

    def read(self, offset: int, stop: int) -> bytes | None:
        """Return some bytes, none at the end, or None as soon as the descriptor `stop` is readable. Raises OSError."""


class FileSource:
    """A file of which an earlier program has read a part. Reading it does not move that program's position."""

    is_repeatable = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = os.lseek(descriptor, 0, os.SEEK_CUR)

    def read(self, offset: int, stop: int) -> bytes | None:
        """Return some bytes, none at the end. Raises OSError."""
        return os.pread(self._descriptor, CHUNK, self._start + offset)


class PipeSource:
    """A pipe, a socket or a device. Each byte is read once."""

    is_repeatable = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, stop: int) -> bytes | None:
        """Return some bytes, none at the end, or None as soon as the descriptor `stop` is readable. Raises OSError."""
        return read_when_ready(self._descriptor, stop)


class SpooledSource:
    """A pipe with a copy of what was read, so that the task can be retried. The copy has no name."""

    def __init__(self, descriptor: int, folder: Path, limit: int, forget: Callable[[], object]) -> None:
        """Keep up to `limit` bytes. Call `forget()` when there are more, or when the disk is full."""
        self.is_repeatable = True
        self._descriptor = descriptor
        self._copy = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (open as long as the command runs)
        self._size, self._limit, self._forget = 0, limit, forget

    def read(self, offset: int, stop: int) -> bytes | None:
        """Return some bytes, none at the end, or None as soon as the descriptor `stop` is readable. Raises OSError."""
        if self.is_repeatable and offset < self._size:
            return os.pread(self._copy.fileno(), min(CHUNK, self._size - offset), offset)
        data = read_when_ready(self._descriptor, stop)
        if data and self.is_repeatable:
            self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        kept = 0
        if self._size + len(data) <= self._limit:
            with suppress(OSError):  # the disk is full
                kept = self._copy.write(data)
        self._size += kept
        if kept < len(data):
            self.is_repeatable = False
            self._forget()


def read_when_ready(descriptor: int, stop: int) -> bytes | None:
    """Wait for bytes or the end, and return them. Return None if `stop` becomes readable first. Raises OSError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(stop, select.POLLIN)
    while True:
        if any(ready == stop for ready, _ in poll.poll()):
            return None
        with suppress(BlockingIOError):  # another program has made it non-blocking, and was faster
            return os.read(descriptor, CHUNK)


def own_stdin() -> int | None:
    """Return this command's stdin, or None if a task must not read it: a terminal, /dev/null or no input at all."""
    try:
        descriptor = sys.stdin.fileno()
        status = os.fstat(descriptor)
        is_readable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
    except (OSError, ValueError):  # closed, or no file
        return None
    is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
    return None if is_null or stat.S_ISDIR(status.st_mode) or os.isatty(descriptor) or not is_readable else descriptor


def is_file(descriptor: int) -> bool:
    """Return True if a descriptor is a regular file."""
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def path_of_whole_file(descriptor: int) -> str | None:
    """Return the path of a file of which nothing was read yet, or None if a task could not open it by its path."""
    if not is_file(descriptor) or os.lseek(descriptor, 0, os.SEEK_CUR):
        return None
    try:
        path = _path_of(descriptor)
        if os.path.samestat(os.stat(path), os.fstat(descriptor)) and os.access(path, os.R_OK):
            return path
    except OSError:  # it was deleted, or replaced
        return None
    return None


def _path_of(descriptor: int) -> str:
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")
