"""Maintenance in small steps: the upkeep of the store, and the deletion of rows past their retention."""

from __future__ import annotations

from collections.abc import Iterator

from ...ipc import clock
from ...ipc.config.settings import BackgroundConfig
from ...ipc.store.interface import Store
from ...ipc.store.retention import Retention
from ...ipc.store.values import Upkeep
from ..log import log, rotate_log
from ..system.file_watch import FALLBACK_POLL

#: Seconds between two rounds of pruning, and from the start to the first round.
ROUND = 3600.0
FIRST = 60.0

MEGABYTE = 1024 * 1024

#: If the backlog of the store exceeds this number of bytes, the processes that block its upkeep are logged.
LONG_BACKLOG = 64 * MEGABYTE

#: Seconds between two looks at the size of the log file, if the supervisor takes a turn at all.
ROTATION_CHECK = 60.0

#: Seconds between two steps of a round. Each step holds the write gate for a few milliseconds.
STEP_REST = 0.05


class Maintenance:
    """The upkeep of one store, driven by the supervisor's turns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._steps: Iterator[None] | None = None
        self._next = clock.monotonic() + FIRST
        self._is_logged = False
        #: The time of the next look at the size of the log file (seconds, monotonic).
        self._rotate_at = 0.0

    def turn(self, config: BackgroundConfig, forward: int) -> float:
        """Do one small step if it is due. Return the seconds until the next step.

        `forward` is the sum of all steps forward of the wall clock (milliseconds), which do not make a row older.
        """
        upkeep = self._store.maintenance.maintain()
        self._log_blockers(upkeep)
        rest = self._prune(config, forward)
        if clock.monotonic() >= self._rotate_at:
            self._rotate_at = clock.monotonic() + ROTATION_CHECK
            rotate_log(self._store.home)
        return min(rest, FALLBACK_POLL) if upkeep.is_behind else rest  # no event reports the end of the last reader

    def _prune(self, config: BackgroundConfig, forward: int) -> float:
        now = clock.monotonic()
        if now < self._next:
            return self._next - now
        if self._steps is None:
            self._steps = Retention(self._store, config, clock.now() - forward).steps()
        is_over = next(self._steps, False) is False
        if is_over:
            self._steps = None
        self._next = now + (ROUND if is_over else STEP_REST)
        return self._next - now

    def _log_blockers(self, upkeep: Upkeep) -> None:
        """Log the processes that block the upkeep, only once until the upkeep has caught up."""
        if upkeep.backlog > LONG_BACKLOG and not self._is_logged:
            self._is_logged = True
            reader = _named(self._store.maintenance.blockers())
            log("log_pinned", size=upkeep.backlog // MEGABYTE, reader=reader)
        self._is_logged &= upkeep.is_behind


def _named(pids: list[int]) -> str:
    return f"process {', '.join(map(str, pids))}" if pids else "an unknown process"
