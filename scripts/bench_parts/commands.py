"""Commands (`true`), launched and drained, until all ends are delivered."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import CHUNK, BenchHome
from scripts.bench_parts.peers.spooler import Spooler


class Ours(Contestant):
    """Backburner with two slots, from the first launch until the subscriber has the last end."""

    def __init__(self, name: str, count: int, task: dict[str, object], **settings: object) -> None:
        super().__init__(name)
        self._count, self._task, self._options = count, task, settings

    def open(self) -> None:
        """Start the supervisor and its workers."""
        self._home = BenchHome.with_settings(**self._options)
        self.settings = self._home.description
        self._home.up()
        self._launcher = self._home.launcher()
        self._home.drain(self._launcher, "warm-up", CHUNK, self._task)

    def round(self, number: int) -> Figures:
        """Drain the tasks of a new parent."""
        cpu = self._home.cpu()
        rate = self._home.drain(self._launcher, f"round-{number}", self._count, self._task)
        spent = {role: 1000 * (used - cpu[role]) / self._count for role, used in self._home.cpu().items()}
        return {"rate": rate, "CPU ms a task": sum(spent.values()), **{f"of {role}": ms for role, ms in spent.items()}}

    def close(self) -> None:
        """End the home."""
        self._home.close()


class Xargs(Contestant):
    """Two processes at a time, without a queue and without a record."""

    def __init__(self, count: int) -> None:
        super().__init__("xargs -P2")
        self._count = count

    def open(self) -> None:
        """Ask for the version."""
        version = subprocess.run(["xargs", "--version"], capture_output=True, text=True, check=False)
        self.settings = (version.stdout.splitlines() or ["xargs"])[0] + ", -P2 -n1 true"

    def close(self) -> None:
        """Do nothing: every round ends its processes."""

    def round(self, number: int) -> Figures:
        """Run all commands."""
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
    """Return backburner, a runner without a record, and one with a queue."""
    count = size.pick(1000, 400)
    found: list[Contestant] = [Ours("ours", count, {"command": ["true"]}, durability="normal"), Xargs(count)]
    return [*found, Spooler(count)] if size.peers else found


SECTION = Section(
    "commands",
    "commands (true), two slots, launched and drained, all ends delivered, tasks/s",
    contestants,
    (
        Goal("commands against xargs -P2", "ours/rate", 0.95, ("xargs -P2/rate",)),
        Goal("commands against task-spooler", "ours/rate", 1.7, ("task-spooler/rate",)),
    ),
)
