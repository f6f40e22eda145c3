"""The programs around the home in scripts/chaos: launchers, subscribers and the supervisor, restarted when they die."""

from __future__ import annotations

import subprocess
from collections import Counter

from scripts.trials.chaos.check import SubscriberRecord
from tests.helpers.blackbox import Place

WAYS = ("cli", "bus", "api")


class Programs:
    """The processes that this trial starts."""

    def __init__(self, place: Place, seed: str, rate: float, subscribers: list[SubscriberRecord]) -> None:
        """Nothing is started yet; `rate` is the number of launches per second of each launcher."""
        self._place, self._seed = place, seed
        self._words = {
            **{way: ["load", way, str(place.project), "{life}", str(rate), str(place.tree)] for way in WAYS},
            **{one.name: self._subscriber(one) for one in subscribers},
        }
        self._of_role = {"launcher": list(WAYS), "subscriber": [one.name for one in subscribers]}
        self._alive: dict[str, subprocess.Popen[bytes]] = {}
        self._lives: Counter[str] = Counter()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self.log = (place.project / "programs.log").open("ab")

    def _subscriber(self, one: SubscriberRecord) -> list[str]:
        journal = self._place.project / f"subscriber-{one.name}.journal"
        return ["subscriber", str(self._place.project), str(journal), one.parent, *["--ack"] * one.acknowledges]

    def keep_running(self, *roles: str) -> None:
        """Start the supervisor and the launchers or subscribers that are not running."""
        self.keep_supervised()
        for name in (name for role in roles for name in self._of_role[role]):
            if name not in self._alive or self._alive[name].poll() is not None:
                self._lives[name] += 1
                life = f"{self._seed} {self._lives[name]}"
                module, *words = (word.replace("{life}", life) for word in self._words[name])
                self._alive[name] = self._place.start_module(f"scripts.trials.chaos.{module}", *words, log=self.log)

    def keep_supervised(self) -> None:
        """Start a supervisor unless one is running, as a service manager would."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            return
        if not self._place.role("supervisor"):
            self._supervisor = self._place.start(self._place.command("up", "--detach"), self.log)

    def pids(self, role: str) -> list[int]:
        """Return the processes of a role in a steady order."""
        if role in self._of_role:
            running = (self._alive[name] for name in self._of_role[role] if name in self._alive)
            return [one.pid for one in running if one.poll() is None]
        if role == "task":
            return sorted(one.pid for one in self._place.processes() if "TRIAL_GROUP" in one.marks)
        return sorted(one.pid for one in self._place.role(role))

    def kill(self, *roles: str) -> None:
        """Kill all launchers or subscribers."""
        for name in (name for role in roles for name in self._of_role[role]):
            if name in self._alive:
                self._alive.pop(name).kill()
