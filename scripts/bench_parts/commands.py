"""Commands (`true`), launched and drained, all ends told."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import CHUNK, House
from scripts.bench_parts.peers.spooler import Spooler


class Ours(Contestant):
    """A home with two slots: from the first launch until the subscriber has the last end."""

    def __init__(self, name: str, count: int, task: dict[str, object], **settings: object) -> None:
        super().__init__(name)
        self._count, self._task, self._wanted = count, task, settings

    def open(self) -> None:
        """Start it, with its workers."""
        self._house = House(**self._wanted)
        self.settings = self._house.described
        self._house.up()
        self._launcher = self._house.launcher()
        self._house.drain(self._launcher, "warm-up", CHUNK, self._task)

    def round(self, number: int) -> Figures:
        """A fresh parent."""
        cpu = self._house.cpu()
        rate = self._house.drain(self._launcher, f"round-{number}", self._count, self._task)
        spent = {role: 1000 * (used - cpu[role]) / self._count for role, used in self._house.cpu().items()}
        return {"rate": rate, "CPU ms a task": sum(spent.values()), **{f"of {role}": ms for role, ms in spent.items()}}

    def close(self) -> None:
        """End it."""
        self._house.close()


class Xargs(Contestant):
    """No queue, no record: two processes at a time."""

    def __init__(self, count: int) -> None:
        super().__init__("xargs -P2")
        self._count = count

    def open(self) -> None:
        """Say which."""
        version = subprocess.run(["xargs", "--version"], capture_output=True, text=True, check=False)
        self.settings = (version.stdout.splitlines() or ["xargs"])[0] + ", -P2 -n1 true"

    def close(self) -> None:
        """Nothing is left."""

    def round(self, number: int) -> Figures:
        """All of them."""
        with tempfile.TemporaryFile() as lines:
            lines.write(b"1\n" * self._count)
            lines.seek(0)
            began, cpu = time.monotonic(), _children_cpu()
            subprocess.run(["xargs", "-P2", "-n1", "true"], stdin=lines, check=True)
            rate = self._count / (time.monotonic() - began)
            return {"rate": rate, "CPU ms a task": 1000 * (_children_cpu() - cpu) / self._count}


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def contestants(size: Size) -> list[Contestant]:
    """Ours, one that has no record, and one with a queue."""
    count = size.pick(1000, 400)
    found: list[Contestant] = [Ours("ours", count, {"command": ["true"]}, durability="normal"), Xargs(count)]
    return [*found, Spooler(count)] if size.peers else found


SECTION = Section(
    "commands",
    "commands (true), two slots, launched and drained, all ends told, tasks/s",
    contestants,
    (
        Goal("commands against xargs -P2", "ours/rate", 0.95, ("xargs -P2/rate",)),
        Goal("commands against task-spooler", "ours/rate", 1.7, ("task-spooler/rate",)),
    ),
)
