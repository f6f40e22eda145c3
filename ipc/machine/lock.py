"""Locks that the kernel releases when the process that holds them dies.

These are POSIX record locks (`fcntl`), for three reasons. The kernel names the holder, a forked child does not share
them, and they work the same on Linux and macOS. Closing *any* descriptor of the file drops them, so a process keeps
exactly one descriptor per file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

from .. import clock
from ..failpoints import failpoint

#: The maximum size of a description, in bytes.
DESCRIPTION_LIMIT = 16 * 1024

#: Seconds that a dying process may take to release its locks.
DYING = 1.0

# struct flock: Linux has type, whence, start, length, pid; macOS has start, length, pid, type, whence.
_FLOCK = "hhqqi4x" if sys.platform == "linux" else "qqihh"

_held: dict[Path, Lock] = {}


class Lock:
    """A lock on a file. It belongs to the process, not to the object."""

    def __init__(self, path: Path) -> None:
        """Describe the lock. The file is not opened yet."""
        self.path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock without waiting. Return False if it is already taken. Raises OSError."""
        if self.path in _held:
            return False
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        _held[self.path] = self
        return True

    @property
    def held(self) -> bool:
        """Return True if this object took the lock and the file has not been replaced since then."""
        return _held.get(self.path) is self and not self._is_replaced()

    def describe(self, text: str) -> None:
        """Write a line into the locked file, for `description`. A full disk is ignored."""
        with suppress(OSError), failpoint("lock.describe"):
            os.pwrite(self._descriptor, f"{text}\n".encode(), 0)

    def _is_replaced(self) -> bool:
        try:
            return os.stat(self.path).st_ino != os.fstat(self._descriptor).st_ino
        except (FileNotFoundError, PermissionError):  # the home may have been moved or be unreadable for a while
            return False

    def release(self) -> None:
        """Release the lock."""
        if _held.pop(self.path, None) is self:
            os.close(self._descriptor)


def holder(path: Path) -> int | None:
    """Return the PID of the process that holds the lock, or None. 0 stands for a process in another PID namespace.

    The answer comes from the kernel, so it proves that the process is alive.
    """
    if path in _held:
        return os.getpid()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return holder_of(descriptor)
    finally:
        os.close(descriptor)


def description(path: Path) -> str:
    """Return the line with which the holder of a lock has described itself, or an empty string."""
    try:
        if path in _held:
            data = os.pread(_held[path]._descriptor, DESCRIPTION_LIMIT, 0)
        else:
            with open(path, "rb") as file:
                data = file.read(DESCRIPTION_LIMIT)
    except OSError:
        return ""
    return data.partition(b"\n")[0].decode(errors="replace")


def holder_of(descriptor: int) -> int | None:
    """Return the PID of the process that holds the lock of an open file, as `holder` does.

    The kernel also answers 0 for a dying process that has not released the lock yet. If the answer stays 0, the process
    is in another PID namespace.
    """
    until = clock.monotonic() + DYING
    while (pid := _ask_kernel(descriptor)) == 0 and clock.monotonic() < until:
        clock.nap(0.001)
    return pid


def _ask_kernel(descriptor: int) -> int | None:
    asked = (fcntl.F_WRLCK, 0, 0, 0, 0) if sys.platform == "linux" else (0, 0, 0, fcntl.F_WRLCK, 0)
    answer = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *asked)))
    kind, pid = (answer[0], answer[4]) if sys.platform == "linux" else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


def try_lock(descriptor: int) -> bool:
    """Lock an open file. Return False if another process has the lock. Raises OSError."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _forget() -> None:
    """Forget all locks in a forked child, which does not hold them."""
    for lock in _held.values():
        os.close(lock._descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
