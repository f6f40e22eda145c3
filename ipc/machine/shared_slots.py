"""Slots that all state directories of the user share. The kernel counts them, and frees them when a process dies.

A slot is a lock on one byte of a file. The lock belongs to an open file description, which several processes can
share: the lock ends when one of them frees it, or when the last of them is gone. Each pool has its own range of bytes.
Where the system has no such locks, each slot is a file that is locked as a whole (flock).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..failpoints import failpoint
from .state_folder import prepare_state_folder, state_folder

#: The name of the file of slots, and the pattern of the pipes that wake processes which wait for a slot.
NAME, PIPES = "slots", "slots-*.wake"

#: The bytes of a pool. Locks above the limit in force were taken under a higher limit. The last byte guards a count.
_SPAN = 1 << 20

#: The largest number of slots where each is a file. A message has room for up to 253 descriptors (SCM_MAX_FD).
_MOST_FILES = 200

# struct flock with type, whence, start, length and pid, as fcntl(2) has it on Linux. The pid must be 0.
_FLOCK = "hhqqi4x"
_HAS_RANGES = hasattr(fcntl, "F_OFD_SETLK") and os.uname().sysname == "Linux"


class SharedSlot:
    """An open file description that can hold one slot, for all processes that have copies of its descriptors."""

    def __init__(self, descriptors: Sequence[int], files: Mapping[str, Sequence[int]] | None = None) -> None:
        """Use descriptors that were received from another process, or `open`."""
        self.descriptors = tuple(descriptors)
        self._files = files or {}

    @classmethod
    def open(cls, limits: Mapping[str, int]) -> SharedSlot:
        """Open the file of slots, which is created if it is missing. Raises OSError."""
        folder = prepare_state_folder()
        if _HAS_RANGES:
            return cls([_open(folder / NAME)])
        if sum(limits.values()) > _MOST_FILES:
            raise OSError(errno.EMFILE, f"more than {_MOST_FILES} shared slots")
        files = {pool: [_open(folder / _file_name(pool, slot)) for slot in range(limits[pool])] for pool in limits}
        return cls([descriptor for pool in files.values() for descriptor in pool], files)

    def take(self, pool: str, limit: int) -> bool:
        """Take a slot of a pool without waiting. Return False if all are taken. Raises OSError."""
        if not _HAS_RANGES:
            return any(_lock_file(descriptor) for descriptor in self._files.get(pool, ())[:limit])
        first = _first_byte(pool)
        if not self._find(first + limit, first + _SPAN - 1):
            return self._take_first(first, limit)
        guard = first + _SPAN - 1  # the limit was lowered, so all locks are counted by one process at a time
        if not self._lock(guard):
            return False
        try:
            return self.count(pool) < limit and self._take_first(first, limit)
        finally:
            self._set(fcntl.F_UNLCK, guard, 1)

    def count(self, pool: str) -> int:
        """Return the number of slots of a pool that others have taken. Raises OSError."""
        if not _HAS_RANGES:
            return sum(not _is_free(descriptor) for descriptor in self._files.get(pool, ()))
        first = _first_byte(pool)
        return sum(1 for _ in self._locks(first, first + _SPAN - 1))

    def free(self) -> None:
        """Free the slot, whichever process took it."""
        if not self.descriptors:  # the kernel drops descriptors that a process has no room for
            return
        if _HAS_RANGES:
            self._set(fcntl.F_UNLCK, 0, 0)
        else:
            for descriptor in self.descriptors:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def is_current(self) -> bool:
        """Return True if new processes open the same file."""
        if not self.descriptors:
            return False
        with suppress(OSError):
            path = state_folder() / (NAME if _HAS_RANGES else "")
            return not _HAS_RANGES or os.stat(path).st_ino == os.fstat(self.descriptors[0]).st_ino
        return False

    def close(self) -> None:
        """Close the descriptors of this process. The slot stays taken while other processes have copies."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()

    def _take_first(self, first: int, limit: int) -> bool:
        return any(self._lock(first + slot) for slot in range(limit))

    def _lock(self, byte: int) -> bool:
        try:
            self._set(fcntl.F_WRLCK, byte, 1)
        except BlockingIOError:
            return False
        return True

    def _set(self, kind: int, start: int, length: int) -> None:
        fcntl.fcntl(self.descriptors[0], fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0))

    def _find(self, start: int, end: int) -> tuple[int, int] | None:
        """Return the start and the end of one lock of another description in a range of bytes, or None."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
        kind, _, found, length, _ = struct.unpack(_FLOCK, fcntl.fcntl(self.descriptors[0], fcntl.F_OFD_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else (found, found + length)

    def _locks(self, start: int, end: int) -> Iterator[int]:
        """Yield the first byte of each lock of other descriptions in a range. The kernel names them in any order."""
        ranges = [(start, end)]
        while ranges:
            start, end = ranges.pop()
            if start < end and (found := self._find(start, end)) is not None:
                yield found[0]
                ranges += [(start, found[0]), (found[1], end)]


def count_taken(limits: Mapping[str, int]) -> dict[str, int]:
    """Return the number of taken slots of each pool. Nothing is created; a file that cannot be used has none."""
    nothing = dict.fromkeys(limits, 0)
    try:
        if _HAS_RANGES and not (state_folder() / NAME).exists():
            return nothing
        probe = SharedSlot.open(limits)
        try:
            return {pool: probe.count(pool) for pool in limits}
        finally:
            probe.close()
    except OSError:
        return nothing


class SlotPipe:
    """The pipe in which a process waits for a free slot. It exists only while the process waits."""

    def __init__(self, folder: Path) -> None:
        """Create the pipe for the process that waits on behalf of a state directory. Raises OSError."""
        status = folder.stat()
        self._path = prepare_state_folder() / f"slots-{status.st_dev}-{status.st_ino}.wake"
        with suppress(FileExistsError), failpoint("slots.pipe.make"):
            os.mkfifo(self._path, 0o600)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor, which becomes readable when a slot was freed."""
        return self._descriptor

    def read(self) -> None:
        """Forget what was written."""
        with suppress(BlockingIOError):
            os.read(self._descriptor, 65536)

    def close(self) -> None:
        """Close and delete the pipe."""
        os.close(self._descriptor)
        with suppress(OSError), failpoint("slots.pipe.unlink"):
            os.unlink(self._path)


def wake_waiting() -> None:
    """Wake the processes that wait for a slot. They also look at intervals, so a lost hint costs only a delay."""
    with suppress(OSError):
        for path in state_folder().glob(PIPES):
            with suppress(OSError):  # no process reads it any more, or it is full
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    with failpoint("slots.wake"):
                        os.write(pipe, b"\n")
                finally:
                    os.close(pipe)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _digest(pool: str) -> str:
    from hashlib import sha256  # few users have shared limits

    return sha256(pool.encode(errors="surrogateescape")).hexdigest()


def _first_byte(pool: str) -> int:
    return int(_digest(pool)[:10], 16) * _SPAN  # below 2 ** 60, as an offset must be


def _file_name(pool: str, slot: int) -> str:
    return f"{NAME}-{_digest(pool)[:16]}-{slot}.lock"


def _lock_file(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(descriptor: int) -> bool:
    if not _lock_file(descriptor):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True
