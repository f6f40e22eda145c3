"""Regularly check a running attempt for signs of life, and limit the size of its output."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from ...ipc.config.settings import BackgroundConfig
from ..stability import Finding, Signs, StabilityDetector
from .attempt import Attempt
from .output_cap import MIN_INTERVAL, OutputCap
from .process_tree import cpu_seconds

MEGABYTE = 1024 * 1024


class Monitor:
    """Checks one attempt. Its parts are created at the first check, because short attempts end before that."""

    def __init__(self, attempt: Attempt, members: Callable[[], set[int]], config: BackgroundConfig, now: float) -> None:
        """Monitor an attempt from `now` (seconds, monotonic) on. `members` returns the processes of its tree."""
        self._attempt = attempt
        self._members = members
        self._config = config
        self._began = now
        self._interval = config.polling_interval_ms / 1000
        self._poll_at = now + self._interval
        #: The time of the next check (seconds, monotonic).
        self.next_at = min(now + MIN_INTERVAL, self._poll_at)

    @cached_property
    def _detector(self) -> StabilityDetector:
        return StabilityDetector.of(self._config)

    @cached_property
    def _caps(self) -> list[OutputCap]:
        return [OutputCap(Path(path), self._limit, self._began) for path in self._attempt.files.paths.values()]

    @property
    def _limit(self) -> int:
        return round(self._config.output_limit_mb * MEGABYTE)

    def check(self, now: float, progress: Callable[[], str | None]) -> Finding | None:
        """Do the checks that are due. Return the finding about the signs of life, if that check was due."""
        for cap in self._caps:
            if now >= cap.next_at:
                cap.check(now)
        finding = self._observe(now, progress) if now >= self._poll_at else None
        self.next_at = min(self._poll_at, *(cap.next_at for cap in self._caps))
        return finding

    def _observe(self, now: float, progress: Callable[[], str | None]) -> Finding:
        self._poll_at = now + self._interval
        return self._detector.observe(now, Signs(self._attempt.files.size(), progress(), cpu_seconds(self._members())))

    def trim_output(self) -> None:
        """Free the disk space of output beyond the limit, after the end of the attempt."""
        if self._attempt.files.size() > self._limit:
            for cap in self._caps:
                cap.trim()
