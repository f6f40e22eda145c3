"""What is looked at now and then while a task runs: its signs of life, and how much it writes."""

from __future__ import annotations

from collections.abc import Callable

from ipc.config import BackgroundConfig
from supervisor.execution.attempt import Attempt
from supervisor.execution.cap import Cap
from supervisor.execution.trees import cpu_seconds
from supervisor.stability import Finding, Signs, StabilityDetector

MEGABYTE = 1024 * 1024


class Vitals:
    """One try's pulse. Short tasks are over before it is first felt."""

    def __init__(self, attempt: Attempt, members: Callable[[], set[int]], config: BackgroundConfig, now: float) -> None:
        """Begin at `now` (seconds, monotonic); `members` tells the processes of its tree."""
        self._attempt = attempt
        self._members = members
        self._interval = config.polling_interval_ms / 1000
        self._detector = StabilityDetector.of(config)
        limit = round(config.output_limit_mb * MEGABYTE)
        self._caps = [Cap(path, limit, now) for path in attempt.files.paths.values()]
        self._next_at = now + self._interval

    def next_at(self) -> float:
        """When to look again (seconds, monotonic)."""
        return min(self._next_at, *(cap.next_at for cap in self._caps))

    def look(self, now: float, progress: Callable[[], str | None]) -> Finding | None:
        """Do what is due; what the signs of life tell, where it was time to look at them."""
        for cap in self._caps:
            if now >= cap.next_at:
                cap.look(now)
        if now < self._next_at:
            return None
        self._next_at = now + self._interval
        return self._detector.observe(now, Signs(self._attempt.files.size(), progress(), cpu_seconds(self._members())))

    def trim(self) -> None:
        """At the end: give back what was written since."""
        for cap in self._caps:
            cap.trim()
