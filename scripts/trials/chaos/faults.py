"""The faults of scripts/chaos: which role is killed or stopped when, and the signals that do it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass

from scripts.trials.chaos.programs import Programs
from tests.helpers.processes import send_signal

#: The roles, and how often each is hit beside the others.
ROLES = {
    "worker": 26,
    "task": 8,
    "runner": 10,
    "flusher": 14,
    "supervisor": 14,
    "forkserver": 8,
    "launcher": 10,
    "subscriber": 10,
}

#: Roles that are hit if no process has the scheduled one.
ALTERNATIVES = ("worker", "flusher", "subscriber")

#: Seconds between two faults: more than two kills per second, although every fourth fault only stops a process.
SHORTEST, LONGEST = 0.12, 0.36
STOPS_SHARE = 0.25

#: Seconds after a fault for which rescues may take longer.
DISTURBED_FOR = 3.0


@dataclass(frozen=True)
class Fault:
    """A kill, or a stop for `stop_s` seconds, decided before anything runs. `pick` selects the process of the role."""

    at: float
    role: str
    pick: float
    stop_s: float | None


def schedule(seconds: float, seed: str) -> list[Fault]:
    """Return all faults of a run."""
    chance = random.Random(f"faults {seed}")
    found: list[Fault] = []
    at = 1.0
    while at < seconds:
        role = chance.choices(list(ROLES), list(ROLES.values()))[0]
        stop_s = chance.choice((0.05, 0.3, 1.0, 2.0)) if chance.random() < STOPS_SHARE else None
        found.append(Fault(at, role, chance.random(), stop_s))
        at += chance.uniform(SHORTEST, LONGEST)
    return found


class FaultInjector:
    """Carries out faults."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self.kills: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self._disturbed_at = 0.0
        self._stopped: list[tuple[float, int]] = []

    def inject(self, fault: Fault) -> None:
        """Carry out a fault, on another role if no process has the scheduled one."""
        for role in (fault.role, *ALTERNATIVES):
            pids = self._programs.pids(role)
            if pids:
                self._hit(role, pids[int(fault.pick * len(pids))], fault.stop_s)
                return

    def _hit(self, role: str, pid: int, stop_s: float | None) -> None:
        if role in ("supervisor", "forkserver") or stop_s is not None:
            self._disturbed_at = time.monotonic() + (stop_s or 0.0)
        if stop_s is None and send_signal(pid, signal.SIGKILL):
            self.kills[role] += 1
        elif stop_s is not None and send_signal(pid, signal.SIGSTOP):
            self.stops[role] += 1
            self._stopped.append((time.monotonic() + stop_s, pid))

    def resume(self, now: float = float("inf")) -> None:
        """Continue processes that have been stopped for long enough; without `now` all of them."""
        for at, pid in list(self._stopped):
            if at <= now:
                self._stopped.remove((at, pid))
                send_signal(pid, signal.SIGCONT)

    def is_disturbed(self) -> bool:
        """Return True if a supervisor or a fork server was killed a moment ago, or any process was stopped."""
        return time.monotonic() - self._disturbed_at < DISTURBED_FOR
