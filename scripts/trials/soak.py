"""Puts a steady load on backburner for a long time, and checks that nothing grows.

    scripts/soak --minutes 60                 100 tasks per second; 2 minutes are enough for CI
    scripts/soak --minutes 60 --png soak.png  where the curves are drawn (default: soak.png in the current folder)

One launcher launches `true` at a steady rate; the parent receives and acknowledges every batch; delivered events are
pruned every few seconds, so that the state directory becomes steady, too. Once per second the memory and the
descriptors of the long-lived processes, the write-ahead log, the database and the whole folder are measured. Each
curve must be flat: the mean of its last third may exceed that of its second third by a tenth and a small allowance.
The exit code is 1 if one is not flat, or if the load did not get through.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from scripts.docs.chart import Chart
from tests.helpers.blackbox import CommandFailed, Place
from tests.helpers.invariants import BATCH_SENT
from tests.helpers.processes import memory, open_files
from tests.helpers.rpc import Refused
from tests.helpers.wait import WaitTimeout, eventually

#: The long-lived roles; workers come and go.
LONG_LIVED = ("supervisor", "forkserver", "flusher")
MIB = 2**20

#: Seconds after the load until everything must have been delivered.
DRAIN_TIMEOUT = 120.0

#: Batches between two acknowledgements, and seconds between two prunings.
ACKNOWLEDGE_EVERY, PRUNE_EVERY = 10, 5.0

SETTINGS = """
durability = "normal"
default_concurrency = 4
max_workers = 4
retention_days = 0.0001
notification_batch_window_ms = 500
notification_max_batch = 50
"""

#: Curves that must be flat, and what they may rise by in addition to a tenth.
ALLOWED = {
    "supervisor, MiB": 1.0,
    "forkserver, MiB": 1.0,
    "flusher, MiB": 2.0,
    "a worker, MiB": 2.0,
    "descriptors": 6.0,
    "write-ahead log, MiB": 4.0,
    "database, MiB": 4.0,
    "folder, MiB": 8.0,
    "files": 20.0,
}


@dataclass
class Curves:
    """The measured values by name."""

    points: dict[str, list[float]] = field(default_factory=dict)

    def add(self, values: dict[str, float]) -> None:
        """Add one point to some curves."""
        for name, value in values.items():
            self.points.setdefault(name, []).append(value)

    def risen(self) -> list[str]:
        """Return descriptions of the curves that are not flat."""
        found = []
        for name, allowed in ALLOWED.items():
            values = self.points[name]
            third = len(values) // 3
            before, after = statistics.mean(values[third : 2 * third]), statistics.mean(values[2 * third :])
            if after > before * 1.1 + allowed:
                found.append(f"{name} rose from {before:.1f} to {after:.1f}")
        return found


class Soak:
    """One home under load."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Prepare the home; nothing is started."""
        self.options = options
        self.place = Place.create("soak")
        self.place.snapshot()
        self.place.configure(SETTINGS)
        self.curves = Curves()
        self.launched = self.delivered = self.skipped = 0
        self.finished = threading.Event()
        self.problems: list[str] = []

    def go(self) -> None:
        """Load and measure for the given time, and wait for the last tasks."""
        self.place.check("up", "--detach")
        threads = [
            threading.Thread(target=self._guarded, args=(part,), daemon=True)
            for part in (self._launch, self._receive, self._prune)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self.options.minutes * 60
        while time.monotonic() < deadline and not self.problems:
            self.curves.add(self._measure())
            time.sleep(1.0)
        self.finished.set()
        threads[0].join(10)
        with suppress(WaitTimeout):  # the report counts those that are missing
            eventually(lambda: self.delivered >= self.launched or self.problems, DRAIN_TIMEOUT)

    def _guarded(self, part: Callable[[], None]) -> None:
        try:
            part()
        except (OSError, Refused, CommandFailed, subprocess.TimeoutExpired) as error:
            self.problems.append(repr(error))

    def _launch(self) -> None:
        """Launch ten times per second, unless the tasks of a few seconds are waiting."""
        task = {
            "command": ["true"],
            "parentSessionId": "ses-soak",
            "concurrencyKey": "soak",
            "cwd": str(self.place.project),
        }
        client, due = self.place.connect(timeout=60), time.monotonic()
        while not self.finished.is_set():
            count = self.options.rate // 10
            if self.launched - self.delivered < 10 * self.options.rate:
                client.call("launchMany", tasks=[task] * count)
                self.launched += count
            else:
                self.skipped += count
            due = max(due + 0.1, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))

    def _receive(self) -> None:
        client = self.place.connect(timeout=3600)
        client.send("subscribe", parentSessionId="ses-soak", types=[BATCH_SENT])
        for number, batch in enumerate(client.events(), 1):
            self.delivered += batch["count"]
            if number % ACKNOWLEDGE_EVERY == 0:
                client.send("ack", parentSessionId="ses-soak", seq=batch["seq"])

    def _prune(self) -> None:
        while not self.finished.wait(PRUNE_EVERY):
            self.place.check("prune", timeout=120)

    def _measure(self) -> dict[str, float]:
        pids: dict[str, list[int]] = {name: [] for name in (*LONG_LIVED, "worker")}
        for one in self.place.processes():
            pids.get(one.role or "", []).append(one.pid)
        sizes = [_size(path) for path in _files(self.place.home)]
        workers = [_private_memory(pid) for pid in pids["worker"]]
        return {
            **{f"{name}, MiB": sum(map(_private_memory, pids[name])) for name in LONG_LIVED},
            "a worker, MiB": statistics.mean(workers) if workers else 0.0,
            "descriptors": sum(len(open_files(pid)) for name in LONG_LIVED for pid in pids[name]),
            "write-ahead log, MiB": _size(self.place.home / "backburner.db-wal") / MIB,
            "database, MiB": _size(self.place.home / "backburner.db") / MIB,
            "folder, MiB": sum(sizes) / MIB,
            "files": len(sizes),
            "tasks waiting": self.launched - self.delivered,
        }

    def report(self) -> list[str]:
        """Print and draw the figures, and return the problems."""
        chart = Chart()
        for name, values in self.curves.points.items():
            text = f"{name}: first {values[0]:.1f} last {values[-1]:.1f} most {max(values):.1f}"
            print(text)
            chart.panel(f"{text} - {len(values)} s", values)
        chart.save(Path(self.options.png))
        samples = len(self.curves.points["files"])
        print(f"launched {self.launched}, delivered {self.delivered} in {samples} samples;", end=" ")
        print(f"held back {self.skipped}; drawn in {self.options.png}")
        found = [*self.problems, *self.curves.risen(), *(self.place.log.splitlines()[-10:] if self.problems else [])]
        if self.delivered != self.launched:
            found.append(f"of {self.launched} tasks the ends of {self.delivered} were delivered")
        return found


def _private_memory(pid: int) -> float:
    """Return the MiB that only this process has: what the system would regain if it ended."""
    return memory(pid, "Private_Clean", "Private_Dirty") / MIB


def _files(folder: Path) -> list[Path]:
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names]


def _size(path: Path) -> int:
    """Return the size in bytes, 0 if the file was removed meanwhile."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def main() -> int:
    """Run the load, and report."""
    parser = argparse.ArgumentParser(prog="soak", description="Put a steady load on backburner; nothing must grow.")
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--rate", type=int, default=100, help="tasks per second (100)")
    parser.add_argument("--png", default="soak.png", help="where the curves are drawn (soak.png)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help=argparse.SUPPRESS)
    soak = Soak(parser.parse_args())
    try:
        soak.go()
        problems = soak.report()
    finally:
        soak.place.remove()
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
