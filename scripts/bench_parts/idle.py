"""A minute with nothing to do: two idle workers and one subscriber."""

from __future__ import annotations

import time

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import BenchHome, check_completed
from tests.helpers.processes import Activity

#: Seconds after the last task until everything is idle.
SETTLED = 3.0


class Idle(Contestant):
    """All processes of backburner, by the kernel's counters."""

    def __init__(self, seconds: int) -> None:
        super().__init__("ours", f"{seconds} s")
        self._seconds = seconds

    def open(self) -> None:
        """Let both workers run a task, and become idle."""
        self._home = BenchHome.with_settings(durability="normal")
        self._home.up()
        self._subscriber = self._home.subscriber("idle")
        launcher = self._home.launcher()
        task = self._home.task(command=["sleep", "0.2"])
        launched = launcher.call(parent="idle", count=4, chunk=4, task=task)
        launcher.close()
        check_completed(launched["ids"], self._subscriber.ends(4)[1])
        self.settings += f", {len(self._home.role('worker'))} workers, {self._home.description}"
        time.sleep(SETTLED)

    def round(self, number: int) -> Figures:
        """Compare the counters before and after."""
        before = {one.pid: Activity.of(one.pid) for one in self._home.processes()}
        time.sleep(self._seconds)
        done = [Activity.of(pid).since(was) for pid, was in before.items()]
        cpu, sleeps = sum(one.cpu for one in done), sum(one.sleeps for one in done)
        return {"CPU, s in 60": cpu * 60 / self._seconds, "switches a second": sleeps / self._seconds}

    def close(self) -> None:
        """End the home."""
        self._home.close()


SECTION = Section(
    "idle",
    "nothing to do, two idle workers and a subscriber",
    lambda size: [Idle(size.pick(60, 10))],
    (
        Goal("CPU of all our processes, s a minute", "ours/CPU, s in 60", 0.02, at_least=False),
        Goal("their voluntary switches a second", "ours/switches a second", 2.0, at_least=False),
    ),
    once=True,
)
