"""Named pipes through which a command in the foreground passes its stdin on to a task.

The command makes one pipe for each attempt, and keeps it open for reading and locked until it exits. The kernel
drops the lock when the command dies, so an attempt never takes the end of a dead command's pipe for the end of the
input. When the input has ended, the command marks the pipe by its permissions, and closes its end for writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from ..failpoints import failpoint

#: The permissions of a pipe, and of a pipe through which all of the input has gone.
OPEN, ENDED = 0o600, 0o400


class BrokenOff(Exception):
    """The command that passes the input on has exited before its end."""


def path_of(path: Path, attempt: int) -> Path:
    """Return the pipe of one attempt. The pipe of the first attempt is `path`."""
    return path if attempt == 1 else path.with_name(f"{path.name}.{attempt}")


class InputPipe:
    """The command's side of a pipe. A write never blocks."""

    def __init__(self, path: Path) -> None:
        """Make the pipe. Raises OSError."""
        self.path = path
        with failpoint("input.pipe.make"):
            os.mkfifo(path, OPEN)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # a system without such locks on pipes does not notice a killed command
            fcntl.flock(self._reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
        #: The end for writing.
        self.writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def write(self, data: bytes) -> int:
        """Write what fits. Return the number of bytes."""
        try:
            with failpoint("input.pipe.write"):
                return os.write(self.writer, data)
        except BlockingIOError:
            return 0

    def end(self) -> None:
        """Pass the end of the input on. What the task has not read yet stays in the pipe."""
        os.fchmod(self.writer, ENDED)
        self._close_writer()

    def break_off(self) -> None:
        """Pass on that no more input follows, though it has not ended: the attempt cannot complete."""
        if self._reader >= 0:
            with suppress(OSError):
                fcntl.flock(self._reader, fcntl.LOCK_UN)
        self._close_writer()

    def delete(self) -> None:
        """Delete the pipe. An attempt that has opened it keeps it."""
        with suppress(FileNotFoundError), failpoint("input.pipe.unlink"):
            os.unlink(self.path)

    def close(self) -> None:
        """Close the pipe."""
        self._close_writer()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1

    def _close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1


def open_input(path: str) -> int:
    """Open the stdin of an attempt for reading, without waiting for a writer. Raises OSError, BrokenOff."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode) and not _is_held(descriptor):
        os.close(descriptor)
        raise BrokenOff
    os.set_blocking(descriptor, True)
    return descriptor


def is_broken_off(path: Path) -> bool:
    """Return True if the command that passed an attempt's input on was killed before its end."""
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # the command has deleted the pipe
        return False
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) == ENDED:
            return False
        # The kernel may close the end for writing before it drops the lock of a killed command.
        return not _is_held(descriptor) or not _has_writer(descriptor)
    finally:
        os.close(descriptor)


def _has_writer(descriptor: int) -> bool:
    """Return True if the pipe is open for writing. What the attempt has left in it is dropped."""
    try:
        # One read takes all that a pipe can hold (F_SETPIPE_SZ), so only a writer can fill it again.
        return bool(os.read(descriptor, 1 << 20) and os.read(descriptor, 1 << 20))
    except BlockingIOError:
        return True


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EOPNOTSUPP, errno.EINVAL)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
