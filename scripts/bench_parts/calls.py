"""Python callables, launched in bulk while they are drained, all ends told."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scripts.bench_parts import bare
from scripts.bench_parts.commands import Ours
from scripts.bench_parts.errands import Errand
from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import CHUNK, cpu_of
from scripts.bench_parts.peers.contestant import Peer
from scripts.bench_parts.peers.specs import QUEUES


class BareLoop(Contestant):
    """Processes that settle, claim and append both events in one transaction, one that inserts, one that reads."""

    def __init__(self, count: int, synchronous: str, workers: int) -> None:
        super().__init__("bare loop", f"{workers} processes, synchronous = {synchronous}, POSIX record lock")
        self._count, self._synchronous, self._size = count, synchronous, workers
        self._errands: list[Errand] = []

    def open(self) -> None:
        """Start the processes."""
        self._folder = Path(tempfile.mkdtemp(prefix="bb-bare-", dir="/tmp"))
        path = self._folder / "bare.db"
        bare.make(path)
        self._inserter = self._errand("inserter", path, self._synchronous)
        self._reader = self._errand("reader", path)
        self._workers = [self._errand("worker", path, self._synchronous) for _ in range(self._size)]

    def round(self, number: int) -> Figures:
        """A fresh parent."""
        parent, cpu = f"round-{number}", self._cpu()
        for one in self._workers:
            one.ask(go_on=True)
        self._reader.ask(parent=parent, count=self._count)
        inserted = self._inserter.call(parent=parent, count=self._count, chunk=CHUNK)
        read = self._reader.answer()
        for one in self._workers:
            one.ask(go_on=False)
        done = sum(one.answer()["done"] + one.answer()["done"] for one in self._workers)
        if sorted(read["ids"]) != sorted(inserted["ids"]) or done != self._count:
            raise RuntimeError("the bare loop lost or repeated a task")
        rate = self._count / (read["ended"] - inserted["began"])
        return {"rate": rate, "CPU ms a task": 1000 * (self._cpu() - cpu) / self._count}

    def _cpu(self) -> float:
        return sum(cpu_of(one.pid)[0] for one in self._errands)

    def close(self) -> None:
        """End them."""
        for one in self._errands:
            one.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _errand(self, name: str, *arguments: object) -> Errand:
        self._errands.append(Errand(f"scripts.bench_parts.bare:{name}", *map(str, arguments)))
        return self._errands[-1]


def contestants(size: Size) -> list[Contestant]:
    """Ours, the raw limit, and the peers."""
    count = size.pick(3000, 1000)
    ours: list[Contestant] = [Ours("ours", count, {"call": "noop:noop"}, durability="normal")]
    peers = [Peer(spec, count) for spec in QUEUES] if size.peers else []
    return [*ours, BareLoop(count, "NORMAL", 2), *peers]


#: The ratio to the rate of a peer that is to be reached; 1.8 to all others.
BOUNDS = {"litequeue": 1.05}

SECTION = Section(
    "calls",
    "Python callables (no-op), two slots, launched in bulk while drained, all ends told, tasks/s",
    contestants,
    (
        Goal("calls against the bare loop", "ours/rate", 0.6, ("bare loop/rate",)),
        *(
            Goal(f"calls against {one.name}", "ours/rate", BOUNDS.get(one.name, 1.8), (f"{one.name}/rate",))
            for one in QUEUES
        ),
    ),
)
