"""Keeping the home small, a little at a time: the write-ahead log, and what is past its retention."""

from __future__ import annotations

from collections.abc import Iterator

from ipc import clock
from ipc.config import BackgroundConfig
from ipc.database import CHECKPOINT_AT, Database
from ipc.pruning import Pruning

#: Seconds between two rounds of pruning, and until the first one after the start.
ROUND = 3600.0
FIRST = 60.0

#: Seconds between two steps of a round: each takes the gate for a few milliseconds, and others want it, too.
STEP_REST = 0.05


class Housekeeping:
    """A little at a time."""

    def __init__(self, database: Database) -> None:
        """Care for that database; nothing is due at once."""
        self._database = database
        self._steps: Iterator[None] | None = None
        self._next = clock.monotonic() + FIRST

    def turn(self, config: BackgroundConfig) -> float:
        """Do one small thing, if one is due; in how many seconds the next one is."""
        if self._database.wal_bytes() >= CHECKPOINT_AT:
            self._database.checkpoint()
        now = clock.monotonic()
        if now < self._next:
            return self._next - now
        if self._steps is None:
            self._steps = Pruning(self._database, config).steps()
        over = next(self._steps, False) is False
        if over:
            self._steps = None
        self._next = now + (ROUND if over else STEP_REST)
        return self._next - now
