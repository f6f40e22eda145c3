"""Whether a task shows signs of life, and whether it has said all it had to say. Pure: told the time."""

from __future__ import annotations

from typing import NamedTuple

from ..ipc.config.settings import BackgroundConfig

#: Between observations further apart than this many polls nobody looked, so nothing is known.
HOLE = 3


class Signs(NamedTuple):
    """What shows that a task lives."""

    output: int
    """How much it has written so far, in bytes."""
    progress: str | None = None
    """What it said last of its progress."""
    cpu: float = 0.0
    """CPU time of its process tree, in seconds."""


class Finding(NamedTuple):
    """What an observation tells."""

    stable: bool
    """It has written something and, for long enough, nothing more."""
    stale: int | None
    """It has just become stale: milliseconds without a sign of life. Said once, until there is a sign."""


class StabilityDetector:
    """Watches one attempt of one task. Time when nobody looked (the machine slept) is no idleness."""

    def __init__(
        self,
        polling_interval_ms: int = 2000,
        stability_threshold: int = 3,
        min_stability_time_ms: int = 10_000,
        stale_timeout_ms: int = 2_700_000,
    ) -> None:
        """Stable: unchanged for `stability_threshold` polls in a row and for `min_stability_time_ms`."""
        self.polling_interval_ms = polling_interval_ms
        self.stability_threshold = stability_threshold
        self.min_stability_time_ms = min_stability_time_ms
        self.stale_timeout_ms = stale_timeout_ms
        self._seen: Signs | None = None
        self._at = 0.0
        self._idle = self._quiet = 0.0
        self._unchanged = 0
        self._told = False

    @classmethod
    def of(cls, config: BackgroundConfig) -> StabilityDetector:
        """A detector as the configuration wants it."""
        return cls(
            config.polling_interval_ms,
            config.stability_threshold,
            config.min_stability_time_ms,
            config.stale_timeout_ms,
        )

    @property
    def idle_ms(self) -> int:
        """Milliseconds without a sign of life, as far as anybody looked."""
        return int(self._idle)

    def observe(self, at: float, signs: Signs) -> Finding:
        """Take in what shows at `at` (seconds of a monotonic clock)."""
        passed = self._passed(at)
        self._listen(signs, passed)
        self._feel(signs, passed)
        self._seen, self._at = signs, at
        return Finding(self._stable(), self._newly_stale())

    def _passed(self, at: float) -> float:
        """Milliseconds since the last look; none after a hole."""
        passed = (at - self._at) * 1000 if self._seen else 0.0
        return passed if 0 <= passed <= HOLE * self.polling_interval_ms else 0.0

    def _listen(self, signs: Signs, passed: float) -> None:
        """Output and progress are what a task says."""
        if self._seen is None or signs[:2] != self._seen[:2]:
            self._quiet, self._unchanged = 0.0, 0
        elif passed:
            self._quiet += passed
            self._unchanged += 1

    def _feel(self, signs: Signs, passed: float) -> None:
        """CPU time is a sign of life too."""
        if signs != self._seen:
            self._idle, self._told = 0.0, False
        else:
            self._idle += passed

    def _stable(self) -> bool:
        spoke = self._seen is not None and self._seen.output > 0
        long = self._unchanged >= self.stability_threshold and self._quiet >= self.min_stability_time_ms
        return spoke and long

    def _newly_stale(self) -> int | None:
        if self._told or not 0 < self.stale_timeout_ms <= self._idle:
            return None
        self._told = True
        return self.idle_ms
