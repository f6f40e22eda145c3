"""A minute with nothing to do: two idle workers, one subscriber."""

from __future__ import annotations

import re
import time
from pathlib import Path

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section
from scripts.bench_parts.ours import House, check

#: Seconds after which what the last task stirred up has settled.
SETTLED = 3.0


class Idle(Contestant):
    """All our processes, by what the kernel says of them."""

    def __init__(self, seconds: int) -> None:
        super().__init__("ours", f"{seconds} s")
        self._seconds = seconds

    def open(self) -> None:
        """Have both workers work, then rest."""
        self._house = House(durability="normal")
        self._house.up()
        self._ear = self._house.ear("idle")
        launcher = self._house.launcher()
        task = self._house.task(command=["sleep", "0.2"])
        launched = launcher.call(parent="idle", count=4, chunk=4, task=task)
        launcher.close()
        check(launched["ids"], self._ear.hear(4)[1])
        self.settings += f", {len(self._house.place.role('worker'))} workers, {self._house.described}"
        time.sleep(SETTLED)

    def round(self, number: int) -> Figures:
        """Look twice."""
        pids = [one.pid for one in self._house.place.processes()]
        cpu, switches = sum(map(cpu_ns, pids)), sum(map(voluntary_switches, pids))
        time.sleep(self._seconds)
        spent, switched = sum(map(cpu_ns, pids)) - cpu, sum(map(voluntary_switches, pids)) - switches
        return {"CPU, s in 60": spent / 1e9 * 60 / self._seconds, "switches a second": switched / self._seconds}

    def close(self) -> None:
        """End it."""
        self._house.close()


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def voluntary_switches(pid: int) -> int:
    """How often its threads went to rest."""
    texts = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(
        int(found[1]) for text in texts if (found := re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M))
    )


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
