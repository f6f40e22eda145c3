"""The files that receive the output of commands and calls.

`AttemptFiles` belong to one attempt. `OutputFiles` receive the output of the short commands of a series, in turn.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from ...ipc.failpoints import failpoint
from ...ipc.home import Home, sync

STREAMS = ("stdout", "stderr")

#: The largest stream that is stored in the database with the settlement, in bytes.
SMALL = 64 * 1024

#: The maximum number of bytes of a stream to which the rules of an agent are applied.
READABLE = 16 * 1024 * 1024

#: Takes the place of a descriptor while the file must still be created for the next command.
_MISSING = -1

_OPENED_BY_CHILD = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class AttemptFiles:
    """The files of one attempt, named after its claim, so that no two attempts share a file."""

    def __init__(self, home: Home, claim: int) -> None:
        self.paths = {stream: home.output_name(claim, stream) for stream in STREAMS}
        self._home, self._claim = home, claim
        #: The streams that are empty or stored in the database.
        self._saved: set[str] = set()

    def exist(self) -> bool:
        """Return True if the attempt was started. Its process creates the output files between fork and exec."""
        return os.path.exists(self.paths["stdout"])

    def small(self) -> tuple[tuple[str, bytes], ...]:
        """Return the non-empty streams that are small enough for the database."""
        contents = {stream: data for stream in STREAMS if (data := self._read(stream, SMALL + 1)) is not None}
        fitting = {stream: data for stream, data in contents.items() if len(data) <= SMALL}
        self._saved = set(fitting) | (set(STREAMS) - set(contents))
        return tuple((stream, data) for stream, data in fitting.items() if data)

    def sync(self) -> None:
        """Sync the streams that stay files, so that they survive a power loss."""
        for stream in set(STREAMS) - self._saved:
            sync(Path(self.paths[stream]))

    def delete_saved(self) -> None:
        """Delete the files of the streams that are in the database now."""
        for stream in self._saved:
            with suppress(FileNotFoundError), failpoint("output.unlink"):
                os.unlink(self.paths[stream])

    def delete_inputs(self) -> None:
        """Delete the attempt's input files."""
        for kind in ("stdin", "prompt", "order"):
            with failpoint("input.unlink"):
                self._home.input(f"{self._claim}.{kind}").unlink(missing_ok=True)

    def text(self, stream: str) -> str:
        """Return a stream, with undecodable bytes replaced. Of a large one, return its head and its tail."""
        data = self._read(stream, READABLE + 1) or b""
        if len(data) <= READABLE:
            return data.decode(errors="replace")
        half = READABLE // 2
        return "\n".join(part.decode(errors="replace") for part in (data[:half], self._last(stream, half)))

    def tail(self, stream: str) -> str:
        """Return the last 4 KiB of a stream."""
        return self._last(stream, 4096).decode(errors="replace")

    def _last(self, stream: str, limit: int) -> bytes:
        """Return the last bytes of a stream, without the hole in the middle of a capped one."""
        try:
            if not os.stat(self.paths[stream]).st_size:
                return b""
            with open(self.paths[stream], "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
                return file.read(limit).lstrip(b"\0")
        except FileNotFoundError:
            return b""

    def size(self) -> int:
        """Return the number of bytes in both streams."""
        return sum(map(_size, self.paths.values()))

    def _read(self, stream: str, limit: int) -> bytes | None:
        try:
            if not os.stat(self.paths[stream]).st_size:  # most attempts write nothing, at least to stderr
                return b""
            with open(self.paths[stream], "rb", buffering=0) as file:
                return _read_up_to(file, limit)
        except FileNotFoundError:
            return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _read_up_to(file: FileIO, limit: int) -> bytes:
    """Return up to `limit` bytes of a file, without allocating a buffer of `limit` bytes for a small file."""
    size = min(os.fstat(file.fileno()).st_size, limit)
    pieces = bytearray()
    while len(pieces) < size and (piece := file.read(size - len(pieces))):
        pieces += piece
    return bytes(pieces)


class OutputFiles:
    """Two files for stdout and stderr, which the commands of a series use in turn.

    A command opens them by path, so that it has its own file description. The worker must know two things about it:

    - Was the command started? The modification time of its stdout is set to 0 beforehand, and opening the file with
      O_TRUNC sets the current time. If the file system does not do that, the worker deletes both files beforehand,
      and the command creates them.
    - Can its files be reused? A read lease (fcntl(2), F_SETLEASE) is granted only if no process has the file open for
      writing. Without leases, or if a process still has it open, a new file is created.
    """

    def __init__(self, home: Home, owner: int) -> None:
        """Create the files of a worker. Raises OSError."""
        self.paths = paths_of(home, owner)
        self._handles = [_create(path) for path in self.paths]
        self._by_time = times_prove_opening(self.paths[0])

    def actions(self, stdin: int) -> list[tuple[Any, ...]]:
        """Return the file actions of posix_spawn: use `stdin`, and open both files."""
        opened = [
            (os.POSIX_SPAWN_OPEN, target, path, _OPENED_BY_CHILD, 0o600) for target, path in enumerate(self.paths, 1)
        ]
        return [(os.POSIX_SPAWN_DUP2, stdin, 0), *opened]

    def arm(self) -> None:
        """Create missing files, and prepare to detect if the next command opens its stdout. Raises OSError."""
        for index, path in enumerate(self.paths):
            if self._handles[index] == _MISSING:
                self._handles[index] = _create(path)
        if self._by_time:
            os.utime(self._handles[0], ns=(0, 0))
        else:
            for path in self.paths:
                with suppress(FileNotFoundError), failpoint("output.disarm"):
                    os.unlink(path)

    def sizes(self) -> tuple[int, int]:
        """Return the size of each file."""
        if not self._by_time:
            self._open_created()
        return os.fstat(self._handles[0]).st_size, os.fstat(self._handles[1]).st_size

    def read(self, sizes: tuple[int, int]) -> tuple[bytes, bytes]:
        """Return the given number of bytes of each file."""
        return os.pread(self._handles[0], sizes[0], 0), os.pread(self._handles[1], sizes[1], 0)

    def clear(self, sizes: tuple[int, int]) -> None:
        """Empty the files for the next command. Replace a file to which a process can still write."""
        for index, size in enumerate(sizes):
            if not _is_free(self._handles[index]):
                self._replace(index)
            elif size:
                with failpoint("output.truncate"):
                    os.truncate(self.paths[index], 0)

    def give_to(self, names: list[str]) -> None:
        """Move both files to these paths, for the current command to keep. The next command gets new files."""
        for index, name in enumerate(names):
            with failpoint("output.rename"):
                os.rename(self.paths[index], name)
            self._close(index)

    def remove(self) -> None:
        """Delete the files before the worker exits."""
        for index, path in enumerate(self.paths):
            self._close(index)
            with suppress(FileNotFoundError), failpoint("output.remove"):
                os.unlink(path)

    def _open_created(self) -> None:
        """Open the files that the command has created. If it could not be started, it has created none."""
        for index, path in enumerate(self.paths):
            self._close(index)
            self._handles[index] = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _replace(self, index: int) -> None:
        with suppress(FileNotFoundError), failpoint("output.replace"):
            os.unlink(self.paths[index])
        self._close(index)

    def _close(self, index: int) -> None:
        if self._handles[index] != _MISSING:
            os.close(self._handles[index])
            self._handles[index] = _MISSING


def paths_of(home: Home, owner: int) -> list[str]:
    """Return the paths of the output files of a worker's commands."""
    return [f"{command_prefix(home, owner)}.{stream}" for stream in STREAMS]


def command_prefix(home: Home, owner: int) -> str:
    """Return the path of the output files of a worker's commands, without `.stdout` or `.stderr`."""
    return f"{home.folder}/output/command-{owner}"


def runner_prefix(home: Home, owner: int) -> str:
    """Return the path of the output files of a worker's runner, without `.stdout` or `.stderr`."""
    return f"{home.folder}/output/worker-{owner}-runner"


def was_opened(home: Home, owner: int) -> bool:
    """Return True if the last command of a dead worker was started and has opened its files."""
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
    """Create an empty file. Return a descriptor to read it."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
