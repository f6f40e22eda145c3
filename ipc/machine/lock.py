"""Locks that the kernel holds for a process, and drops when it dies.

POSIX record locks (`fcntl`), for three reasons: the kernel names the holder, a forked child does not share
them, and they work alike on Linux and macOS. Their trap, that closing *any* descriptor of the file drops them,
is met by keeping one descriptor per process and file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from pathlib import Path

from .. import clock

#: Seconds that a dying process may take to drop its locks.
DYING = 1.0

# struct flock: Linux has type, whence, start, length, pid; macOS has start, length, pid, type, whence.
_FLOCK = "hhqqi4x" if sys.platform == "linux" else "qqihh"

_held: dict[Path, Lock] = {}


class Lock:
    """One lock of one file. Held by the process, not by the object."""

    def __init__(self, path: Path) -> None:
        """Name the lock; nothing is opened yet."""
        self.path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock, without waiting; whether it is ours now. Raises OSError."""
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
        """Whether this object took the lock, and it still counts: nobody made another file of that name."""
        return _held.get(self.path) is self and not self._is_displaced()

    def _is_displaced(self) -> bool:
        try:
            return os.stat(self.path).st_ino != os.fstat(self._descriptor).st_ino
        except (FileNotFoundError, PermissionError):  # the home may have been moved, or closed to us, and come back
            return False

    def release(self) -> None:
        """Give the lock back."""
        if _held.pop(self.path, None) is self:
            os.close(self._descriptor)


def holder(path: Path) -> int | None:
    """The process that holds a lock of that file now, or None. Proof, not memory: the kernel answers.

    0 for one in another pid namespace.
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


def holder_of(descriptor: int) -> int | None:
    """As `holder`, of an open file.

    One that is just dying has no number any more, and drops the lock in a moment. 0 that stays is somebody whom this
    process cannot see: in another pid namespace.
    """
    until = clock.monotonic() + DYING
    while (found := _ask_kernel(descriptor)) == 0 and clock.monotonic() < until:
        clock.nap(0.001)
    return found


def _ask_kernel(descriptor: int) -> int | None:
    asked = (fcntl.F_WRLCK, 0, 0, 0, 0) if sys.platform == "linux" else (0, 0, 0, fcntl.F_WRLCK, 0)
    answer = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *asked)))
    kind, pid = (answer[0], answer[4]) if sys.platform == "linux" else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has it. Raises OSError for all but that."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _forget() -> None:
    """A child of a fork holds none of its parent's locks."""
    for lock in _held.values():
        os.close(lock._descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
