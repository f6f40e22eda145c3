"""Group commit: many transactions share one sync of the write-ahead log.

A transaction is committed unsynced, under the write gate, and is counted here before and after its commit. A process
syncs the log before it reports anything that it has read or written. One sync covers all transactions that have
finished by then (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984). The counters only
save work: if they are lost, the log is synced once more than necessary.
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

#: The system call that SQLite uses. It syncs the data and the size of a file, but not its times.
sync_data = getattr(os, "fdatasync", os.fsync)

_ALL, _ONE = struct.Struct("=qqq"), struct.Struct("=q")


class Counters(NamedTuple):
    """The last transaction that has started, the last that has finished, and the last that is known to be synced."""

    started: int
    finished: int
    synced: int


#: The counters of an absent or damaged file: they require a sync.
UNKNOWN = Counters(1, 1, 0)


class GroupCommit:
    """Counts the transactions of one database, and syncs its write-ahead log when one of them is not durable yet."""

    def __init__(self, path: Path, log: str, gate: WriteGate) -> None:
        """Keep the counters in the file `path`. A process holds `gate`, the sync gate, while it syncs `log`."""
        self._path = path
        self._log = log
        self._gate = gate
        self._opening = threading.Lock()
        self._descriptor = -1

    def start(self) -> int:
        """Count a transaction before other processes can read it, and return its number. Raises OSError.

        The caller holds the write gate.
        """
        number = max(self._counters().started + 1, clock.nanoseconds())  # higher than all numbers in a lost file
        self._set("started", number)
        return number

    def finish(self, number: int) -> None:
        """Record that a transaction is committed or rolled back: the next sync covers it. Raises OSError."""
        self._set("finished", number)

    def sync(self) -> None:
        """Make all that can be read now survive a power loss.

        Raises Unsynced, GateBusy, OSError. After any of these, it is unknown whether the data is durable.
        """
        started, finished, synced = self._counters()
        last = max(started, finished)
        if synced >= last:
            return
        with self._gate:
            counters = self._counters()  # another process may have synced the log during the wait
            if counters.synced < last:
                self._sync_log()
                self._set("synced", counters.finished)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _file(self) -> int:
        with self._opening:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return self._descriptor

    def _counters(self) -> Counters:
        data = os.pread(self._file(), _ALL.size, 0)
        return Counters(*_ALL.unpack(data)) if len(data) == _ALL.size else UNKNOWN

    def _set(self, name: str, number: int) -> None:
        # Each counter has one writer at a time: the holder of the sync gate for `synced`, and the holder of the write
        # gate for the others.
        os.pwrite(self._file(), _ONE.pack(number), Counters._fields.index(name) * _ONE.size)

    def _sync_log(self) -> None:
        # Frames that SQLite has already overwritten are in the database, which it syncs before it restarts the log.
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
                f"{self._log} cannot be synced ({error.strerror}): the last change may not survive a power loss."
            ) from error
