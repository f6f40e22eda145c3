"""Append lines to the worker's journal from its runner."""

from __future__ import annotations

import errno
import json
import os
import zlib
from typing import Any

from .descriptors import file_id
from .system import Failpoint


def start_line(claim: int, us: int) -> bytes:
    """Return the journal line of an attempt that begins at `us` (microseconds since the epoch)."""
    return b"s %d %d\n" % (claim, us)


def end_line(kind: str, claim: int, us: int, document: dict[str, Any]) -> bytes:
    """Return the journal line of an ended attempt. Its kind is `e`, or `x` if processes of its tree are alive."""
    line = f"{kind} {claim} {us} {json.dumps(document)}".encode()
    return b"%s %08x\n" % (line, zlib.crc32(line))


class Journal:
    """The worker's journal, to which lines are appended whole or not at all."""

    def __init__(self, descriptor: int, failpoint: Failpoint) -> None:
        self.descriptor = descriptor
        self._failpoint = failpoint
        self._file = file_id(descriptor)
        self._path = os.path.realpath(f"/proc/self/fd/{descriptor}")
        #: True if a call may have closed or replaced the descriptor.
        self.is_suspect = False

    def append(self, line: bytes) -> None:
        """Append a line with one write. Raises OSError."""
        if self.is_suspect:
            self._recover()
        failpoint = self._failpoint
        with failpoint("runner.journal"):
            written = os.write(self.descriptor, line)
        if written < len(line):
            self._cut_off(written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _recover(self) -> None:
        """Open the journal again if a call has closed or replaced the descriptor."""
        if file_id(self.descriptor) != self._file:
            self.descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if file_id(self.descriptor) != self._file:
                raise FileNotFoundError(errno.ENOENT, "The journal was deleted or replaced.", self._path)

    def _cut_off(self, written: int) -> None:
        failpoint = self._failpoint
        size = os.fstat(self.descriptor).st_size - written
        with failpoint("runner.journal.cut"):
            os.ftruncate(self.descriptor, size)
