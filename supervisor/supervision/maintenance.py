"""Maintenance in small steps: truncate the write-ahead log, and delete what is past its retention."""

from __future__ import annotations

from collections.abc import Iterator

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.store.retention import Pruning
from ...ipc.store.sqlite.database import CHECKPOINT_AT, Database
from ...ipc.store.sqlite.wal import readers
from ..log import log
from ..system.file_watch import FALLBACK_POLL

#: Seconds between two rounds of pruning, and until the first one after the start.
ROUND = 3600.0
FIRST = 60.0

MEGABYTE = 1024 * 1024

#: Bytes of write-ahead log from which on it is truncated. Below that, writers restart it in place, which costs less
#: than growing the file again.
TRUNCATE_AT = 2 * CHECKPOINT_AT

#: Bytes of write-ahead log from which on the processes that pin it are logged.
LONG_LOG = 64 * MEGABYTE

#: Seconds between two steps of a round: each takes the write gate for a few milliseconds, which others want as well.
STEP_REST = 0.05


class Maintenance:
    """The upkeep of one database, driven by the supervisor's turns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._steps: Iterator[None] | None = None
        self._next = clock.monotonic() + FIRST
        self._is_logged = False

    def turn(self, config: BackgroundConfig, forward: int) -> float:
        """Do one small step, if it is due. Return the seconds until the next one.

        The wall clock was set forward by `forward` milliseconds in all: rows are not older for it.
        """
        is_long = self._database.wal_bytes() >= TRUNCATE_AT
        if is_long:
            self._database.checkpoint()
        self._log_pinning_readers()
        rest = self._prune(config, forward)
        return min(rest, FALLBACK_POLL) if is_long else rest  # no event tells when the last reader finishes

    def _prune(self, config: BackgroundConfig, forward: int) -> float:
        now = clock.monotonic()
        if now < self._next:
            return self._next - now
        if self._steps is None:
            self._steps = Pruning(self._database, config, clock.now() - forward).steps()
        is_over = next(self._steps, False) is False
        if is_over:
            self._steps = None
        self._next = now + (ROUND if is_over else STEP_REST)
        return self._next - now

    def _log_pinning_readers(self) -> None:
        """Log once which processes keep the log from being truncated; again when it has been short in between."""
        size = self._database.wal_bytes()
        if size > LONG_LOG and not self._is_logged:
            self._is_logged = True
            log("log_pinned", size=size // MEGABYTE, reader=_named(readers(self._database.home.database)))
        self._is_logged &= size >= TRUNCATE_AT


def _named(pids: list[int]) -> str:
    return f"process {', '.join(map(str, pids))}" if pids else "an unknown process"
