"""Detect tasks whose output is stable or that show no sign of life. The caller passes the time."""

from __future__ import annotations

from typing import NamedTuple

from ..ipc.config.settings import BackgroundConfig

#: The maximum number of polls between two observations. What happened in a longer gap is unknown.
MAX_GAP = 3


class Signs(NamedTuple):
    """The signs of life of a task."""

    output: int
    """Bytes of output so far."""
    progress: str | None = None
    """The last progress text."""
    cpu: float = 0.0
    """CPU time of the process tree, in seconds."""


class Finding(NamedTuple):
    """The result of an observation."""

    stable: bool
    """True if the task has written output, and then none for long enough."""
    stale: int | None
    """Milliseconds without a sign of life, if the task has just become stale. Reported once until the next sign."""


class StabilityDetector:
    """Judges one attempt of a task. A gap between observations, such as a sleep of the machine, is not idle time."""

    def __init__(
        self,
        polling_interval_ms: int = 2000,
        stability_threshold: int = 3,
        min_stability_time_ms: int = 10_000,
        stale_timeout_ms: int = 2_700_000,
    ) -> None:
        """Output is stable after `stability_threshold` polls in a row and `min_stability_time_ms` without a change."""
        self.polling_interval_ms = polling_interval_ms
        self.stability_threshold = stability_threshold
        self.min_stability_time_ms = min_stability_time_ms
        self.stale_timeout_ms = stale_timeout_ms
        self._seen: Signs | None = None
        self._at = 0.0
        self._idle = self._quiet = 0.0
        self._unchanged = 0
        self._is_reported = False

    @classmethod
    def of(cls, config: BackgroundConfig) -> StabilityDetector:
        """Return a detector with the settings of a configuration."""
        return cls(
            config.polling_interval_ms,
            config.stability_threshold,
            config.min_stability_time_ms,
            config.stale_timeout_ms,
        )

    @property
    def idle_ms(self) -> int:
        """Return the milliseconds without a sign of life, not counting gaps."""
        return int(self._idle)

    def observe(self, at: float, signs: Signs) -> Finding:
        """Judge the signs of life at the time `at` (seconds, monotonic)."""
        passed = self._passed(at)
        self._count_quiet(signs, passed)
        self._count_idle(signs, passed)
        self._seen, self._at = signs, at
        return Finding(self._stable(), self._newly_stale())

    def _passed(self, at: float) -> float:
        """Return the milliseconds since the last observation, or 0 after a gap."""
        passed = (at - self._at) * 1000 if self._seen else 0.0
        return passed if 0 <= passed <= MAX_GAP * self.polling_interval_ms else 0.0

    def _count_quiet(self, signs: Signs, passed: float) -> None:
        """Count the time without new output or progress."""
        if self._seen is None or signs[:2] != self._seen[:2]:
            self._quiet, self._unchanged = 0.0, 0
        elif passed:
            self._quiet += passed
            self._unchanged += 1

    def _count_idle(self, signs: Signs, passed: float) -> None:
        """Count the time without any sign of life, CPU time included."""
        if signs != self._seen:
            self._idle, self._is_reported = 0.0, False
        else:
            self._idle += passed

    def _stable(self) -> bool:
        has_output = self._seen is not None and self._seen.output > 0
        is_long = self._unchanged >= self.stability_threshold and self._quiet >= self.min_stability_time_ms
        return has_output and is_long

    def _newly_stale(self) -> int | None:
        if self._is_reported or not 0 < self.stale_timeout_ms <= self._idle:
            return None
        self._is_reported = True
        return self.idle_ms
