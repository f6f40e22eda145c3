"""Which commits outlive a power loss: many share one sync, and who tells of a commit sees to it first.

A transaction is committed unsynced, under the write gate, and counted here before and after. Whoever tells what was
read or written (an answer, an event) has the write-ahead log synced first, once for all that is over by then (group
commit; DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984). The numbers only save work:
where they are lost, there is one sync too many.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import NamedTuple

from .... import clock
from ....errors import Unsynced
from .write_gate import WriteGate

#: As SQLite syncs it: the size is synced with the data, other properties of the file need not be.
sync_data = getattr(os, "fdatasync", os.fsync)

_ALL, _ONE = struct.Struct("=qqq"), struct.Struct("=q")


class Counters(NamedTuple):
    """The last transaction that was begun, the last that is over, the last that is known to outlive a power loss."""

    begun: int
    over: int
    synced: int


#: What is thought where nothing is known: that there is something to sync.
UNKNOWN = Counters(1, 1, 0)


class GroupCommit:
    """The commits of one home's database."""

    def __init__(self, path: Path, log: str, gate: WriteGate) -> None:
        """Count in the file `path`, opened when it is needed; `log` is the write-ahead log, `gate` for who syncs it."""
        self._path = path
        self._log = log
        self._gate = gate
        self._opening = threading.Lock()
        self._descriptor = -1

    def begin(self) -> int:
        """The holder of the write gate is about to commit: who sees that must see it unsynced. Raises OSError."""
        number = max(self._numbers().begun + 1, clock.nanoseconds())  # above all that a lost file may have held
        self._note("begun", number)
        return number

    def end(self, number: int) -> None:
        """What was begun is in the log, or never will be: the next sync covers it. Raises OSError."""
        self._note("over", number)

    def sync(self) -> None:
        """Have all that can be read now outlive a power loss. Raises Unsynced, GateBusy, OSError: then nobody knows."""
        begun, over, synced = self._numbers()
        wanted = max(begun, over)
        if synced >= wanted:
            return
        with self._gate:
            found = self._numbers()  # by now somebody else may have seen to it
            if found.synced < wanted:
                self._sync_log()
                self._note("synced", found.over)

    def close(self) -> None:
        """Let go; a second time, too, as a connection may be."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _file(self) -> int:
        with self._opening:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return self._descriptor

    def _numbers(self) -> Counters:
        found = os.pread(self._file(), _ALL.size, 0)
        return Counters(*_ALL.unpack(found)) if len(found) == _ALL.size else UNKNOWN

    def _note(self, name: str, number: int) -> None:
        """Each number has one writer at a time: the first two the holder of the write gate, the last that of ours."""
        os.pwrite(self._file(), _ONE.pack(number), Counters._fields.index(name) * _ONE.size)

    def _sync_log(self) -> None:
        """Sync the log; what is there no more is in the database, for it is not begun anew before that is synced."""
        try:
            log = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sync_data(log)
            finally:
                os.close(log)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unsynced(
                f"{self._log} cannot be synced ({error.strerror}): what was written may not outlive a power loss."
            ) from error
