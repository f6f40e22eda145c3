"""Python callables, launched in bulk while they are drained, until all ends are delivered."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scripts.bench_parts import bare
from scripts.bench_parts.commands import Ours
from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import CHUNK
from scripts.bench_parts.peers.contestant import Peer
from scripts.bench_parts.peers.specs import QUEUES
from scripts.bench_parts.remote import Remote
from tests.helpers.processes import cpu_times


class BareLoop(Contestant):
    """Workers that settle, claim and append events in one transaction; one process inserts and one reads."""

    def __init__(self, count: int, synchronous: str, workers: int) -> None:
        super().__init__("bare loop", f"{workers} processes, synchronous = {synchronous}, POSIX record lock")
        self._count, self._synchronous, self._size = count, synchronous, workers
        self._remotes: list[Remote] = []

    def open(self) -> None:
        """Start the processes."""
        self._folder = Path(tempfile.mkdtemp(prefix="bb-bare-", dir="/tmp"))
        path = self._folder / "bare.db"
        bare.make(path)
        self._inserter = self._remote("inserter", path, self._synchronous)
        self._reader = self._remote("reader", path)
        self._workers = [self._remote("worker", path, self._synchronous) for _ in range(self._size)]

    def round(self, number: int) -> Figures:
        """Insert the tasks of a new parent, and wait for their ends."""
        parent, cpu = f"round-{number}", self._cpu()
        for one in self._workers:
            one.start(keep_working=True)
        self._reader.start(parent=parent, count=self._count)
        inserted = self._inserter.call(parent=parent, count=self._count, chunk=CHUNK)
        read = self._reader.result()
        for one in self._workers:
            one.start(keep_working=False)
        done = sum(one.result()["done"] + one.result()["done"] for one in self._workers)
        if sorted(read["ids"]) != sorted(inserted["ids"]) or done != self._count:
            raise RuntimeError("the bare loop lost or repeated a task")
        rate = self._count / (read["ended"] - inserted["began"])
        return {"rate": rate, "CPU ms a task": 1000 * (self._cpu() - cpu) / self._count}

    def _cpu(self) -> float:
        return sum(cpu_times(one.pid)[0] for one in self._remotes)

    def close(self) -> None:
        """End the processes."""
        for one in self._remotes:
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _remote(self, name: str, *arguments: object) -> Remote:
        self._remotes.append(Remote(f"scripts.bench_parts.bare:{name}", *map(str, arguments)))
        return self._remotes[-1]


def contestants(size: Size) -> list[Contestant]:
    """Return backburner, the raw limit and the other queues."""
    count = size.pick(3000, 1000)
    ours: list[Contestant] = [Ours("ours", count, {"call": "noop:noop"}, durability="normal")]
    peers = [Peer(spec, count) for spec in QUEUES] if size.peers else []
    return [*ours, BareLoop(count, "NORMAL", 2), *peers]


#: The goals for ratios to other queues; 1.8 for those that are not named.
BOUNDS = {"litequeue": 1.05}

SECTION = Section(
    "calls",
    "Python callables (no-op), two slots, launched in bulk while drained, all ends delivered, tasks/s",
    contestants,
    (
        Goal("calls against the bare loop", "ours/rate", 0.6, ("bare loop/rate",)),
        *(
            Goal(f"calls against {one.name}", "ours/rate", BOUNDS.get(one.name, 1.8), (f"{one.name}/rate",))
            for one in QUEUES
        ),
    ),
)
