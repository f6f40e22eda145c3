"""What is looked at now and then while a task runs: its signs of life, and how much it writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from ...ipc.config.settings import BackgroundConfig
from ..stability import Finding, Signs, StabilityDetector
from .attempt import Attempt
from .output_cap import SOONEST, Cap
from .process_tree import cpu_seconds

MEGABYTE = 1024 * 1024


class Vitals:
    """One try's pulse. Short tasks are over before it is first felt: what feels it is made then."""

    def __init__(self, attempt: Attempt, members: Callable[[], set[int]], config: BackgroundConfig, now: float) -> None:
        """Begin at `now` (seconds, monotonic); `members` tells the processes of its tree. `next_at`: when to look."""
        self._attempt = attempt
        self._members = members
        self._config = config
        self._began = now
        self._interval = config.polling_interval_ms / 1000
        self._poll_at = now + self._interval
        self.next_at = min(now + SOONEST, self._poll_at)

    @cached_property
    def _detector(self) -> StabilityDetector:
        return StabilityDetector.of(self._config)

    @cached_property
    def _caps(self) -> list[Cap]:
        return [Cap(Path(path), self._limit, self._began) for path in self._attempt.files.paths.values()]

    @property
    def _limit(self) -> int:
        return round(self._config.output_limit_mb * MEGABYTE)

    def look(self, now: float, progress: Callable[[], str | None]) -> Finding | None:
        """Do what is due; what the signs of life tell, where it was time to look at them."""
        for cap in self._caps:
            if now >= cap.next_at:
                cap.look(now)
        found = self._feel(now, progress) if now >= self._poll_at else None
        self.next_at = min(self._poll_at, *(cap.next_at for cap in self._caps))
        return found

    def _feel(self, now: float, progress: Callable[[], str | None]) -> Finding:
        self._poll_at = now + self._interval
        return self._detector.observe(now, Signs(self._attempt.files.size(), progress(), cpu_seconds(self._members())))

    def trim(self) -> None:
        """At the end: give back what was written since."""
        if self._attempt.files.size() > self._limit:
            for cap in self._caps:
                cap.trim()
