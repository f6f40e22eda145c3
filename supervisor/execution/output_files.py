"""The output files of the commands that a worker starts in a series: used again for the next one.

A command opens them by path and gets a file description of its own. Before it is started the modification time of its
stdout is set to 0, and opening it with O_TRUNC sets the time of that moment: a time that is not 0 proves that the
process was there. After it has ended, a read lease (fcntl(2), F_SETLEASE) is granted only where nothing has the file
open for writing any more: then it can be used again. Without leases, or if a process still has it, a new file is made.
Where a file system does not set the time, the files are deleted instead before a command is started: it creates them.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from .files import STREAMS

#: In place of a descriptor: the file is to be created before the next command.
_MISSING = -1

_OPENED_BY_CHILD = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class OutputFiles:
    """Two files, for stdout and stderr, of one command after the other."""

    def __init__(self, home: Home, owner: int) -> None:
        """Create them for a worker. Raises OSError."""
        self.paths = paths_of(home, owner)
        self._handles = [_create(path) for path in self.paths]
        self._by_time = times_prove_opening(self.paths[0])

    def actions(self, stdin: int) -> list[tuple[Any, ...]]:
        """Return what posix_spawn does in the child: read `stdin`, open both files."""
        opened = [(os.POSIX_SPAWN_OPEN, at, path, _OPENED_BY_CHILD, 0o600) for at, path in enumerate(self.paths, 1)]
        return [(os.POSIX_SPAWN_DUP2, stdin, 0), *opened]

    def arm(self) -> None:
        """Make it visible whether the next process has opened its stdout; create what is missing. Raises OSError."""
        for at, path in enumerate(self.paths):
            if self._handles[at] == _MISSING:
                self._handles[at] = _create(path)
        if self._by_time:
            os.utime(self._handles[0], ns=(0, 0))
        else:
            for path in self.paths:
                with suppress(FileNotFoundError), failpoint("output.disarm"):
                    os.unlink(path)

    def sizes(self) -> tuple[int, int]:
        """Return how many bytes are in each."""
        if not self._by_time:
            self._open_created()
        return os.fstat(self._handles[0]).st_size, os.fstat(self._handles[1]).st_size

    def read(self, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        """Return that much of each."""
        return os.pread(self._handles[0], sizes[0], 0), os.pread(self._handles[1], sizes[1], 0)

    def clear(self, sizes: tuple[int, int]) -> None:
        """Empty them for the next command; a file that a process can still write to is replaced."""
        for at, size in enumerate(sizes):
            if not _is_free(self._handles[at]):
                self._replace(at)
            elif size:
                with failpoint("output.truncate"):
                    os.truncate(self.paths[at], 0)

    def give_to(self, names: list[str]) -> None:
        """Leave both files to one command for good, under these paths; new ones are created for the next command."""
        for at, name in enumerate(names):
            with failpoint("output.rename"):
                os.rename(self.paths[at], name)
            self._let_go(at)

    def remove(self) -> None:
        """Delete them: the worker leaves."""
        for at, path in enumerate(self.paths):
            self._let_go(at)
            with suppress(FileNotFoundError), failpoint("output.remove"):
                os.unlink(path)

    def _open_created(self) -> None:
        """Open the files that the child has created; one that could not be started has created none."""
        for at, path in enumerate(self.paths):
            self._let_go(at)
            self._handles[at] = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _replace(self, at: int) -> None:
        with suppress(FileNotFoundError), failpoint("output.replace"):
            os.unlink(self.paths[at])
        self._let_go(at)

    def _let_go(self, at: int) -> None:
        if self._handles[at] != _MISSING:
            os.close(self._handles[at])
            self._handles[at] = _MISSING


def paths_of(home: Home, owner: int) -> list[str]:
    """Return the paths of a worker's files."""
    return [f"{command_prefix(home, owner)}.{stream}" for stream in STREAMS]


def command_prefix(home: Home, owner: int) -> str:
    """Return the path of the output files of a worker's commands, without `.stdout` or `.stderr`."""
    return f"{home.folder}/output/command-{owner}"


def runner_prefix(home: Home, owner: int) -> str:
    """Return the path of the output files of a worker's runner, without `.stdout` or `.stderr`."""
    return f"{home.folder}/output/worker-{owner}-runner"


def was_opened(home: Home, owner: int) -> bool:
    """Return True if the last command of a dead worker has opened its files: it was started."""
    try:
        return os.stat(paths_of(home, owner)[0]).st_mtime_ns != 0
    except FileNotFoundError:
        return False


def times_prove_opening(path: str) -> bool:
    """Return True if the file system sets the time of an empty file that is opened with O_TRUNC."""
    os.utime(path, ns=(0, 0))
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC))
    return os.stat(path).st_mtime_ns != 0


def _is_free(handle: int) -> bool:
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


def _create(path: str) -> int:
    """Create an empty file; return a descriptor to read it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
