"""Keeping the home small, a little at a time: the write-ahead log, and what is past its retention."""

from __future__ import annotations

from collections.abc import Iterator

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.store.retention import Pruning
from ...ipc.store.sqlite.database import CHECKPOINT_AT, Database
from ...ipc.store.sqlite.wal import readers
from ..log import say
from ..system.file_watch import FALLBACK_POLL

#: Seconds between two rounds of pruning, and until the first one after the start.
ROUND = 3600.0
FIRST = 60.0

MEGABYTE = 1024 * 1024

#: Bytes of write-ahead log from which on it is truncated. Below that, writers restart it in place, which costs less
#: than growing the file again.
TRUNCATE_AT = 2 * CHECKPOINT_AT

#: Bytes of write-ahead log from which on it is said who keeps it from being shortened.
LONG_LOG = 64 * MEGABYTE

#: Seconds between two steps of a round: each takes the gate for a few milliseconds, and others want it, too.
STEP_REST = 0.05


class Housekeeping:
    """A little at a time."""

    def __init__(self, database: Database) -> None:
        """Care for that database; nothing is due at once."""
        self._database = database
        self._steps: Iterator[None] | None = None
        self._next = clock.monotonic() + FIRST
        self._named = False

    def turn(self, config: BackgroundConfig, forward: int) -> float:
        """Do one small step if it is due, and return the seconds until the next one.

        By `forward` milliseconds the wall clock was set forward: nothing is older for it.
        """
        is_long = self._database.wal_bytes() >= TRUNCATE_AT
        if is_long:
            self._database.checkpoint()
        self._name_who_pins()
        rest = self._prune(config, forward)
        return min(rest, FALLBACK_POLL) if is_long else rest  # nothing wakes us when the last reader finishes

    def _prune(self, config: BackgroundConfig, forward: int) -> float:
        now = clock.monotonic()
        if now < self._next:
            return self._next - now
        if self._steps is None:
            self._steps = Pruning(self._database, config, clock.now() - forward).steps()
        over = next(self._steps, False) is False
        if over:
            self._steps = None
        self._next = now + (ROUND if over else STEP_REST)
        return self._next - now

    def _name_who_pins(self) -> None:
        """Say once who keeps the write-ahead log from being shortened, and again when it has happened anew."""
        size = self._database.wal_bytes()
        if size > LONG_LOG and not self._named:
            self._named = True
            say("pinned", size=size // MEGABYTE, who=_named(readers(self._database.home.database)))
        self._named &= size >= TRUNCATE_AT


def _named(pids: list[int]) -> str:
    return f"process {', '.join(map(str, pids))}" if pids else "somebody"
