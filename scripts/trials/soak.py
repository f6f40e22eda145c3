"""A steady load for a long time: what grows?

    scripts/soak --minutes 60                 100 tasks a second; 2 minutes are enough for CI
    scripts/soak --minutes 60 --png soak.png  where the curves go (default: soak.png in the current folder)

Tasks of `true` are launched at a steady rate by one launcher, their parent hears of all of them and acknowledges;
what was told is pruned every few seconds, so that the home, too, comes to a steady state. Each second the memory and
the descriptors of the processes that stay, the write-ahead log, the database and the whole folder are measured. Each
must be flat: the mean of the last third no higher than that of the second by more than a tenth and a small allowance.
Exit 1 if one is not, or if the load did not get through.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from scripts.docs.chart import Chart
from scripts.trials.outside import Place, Wire, descriptors, nap, resident

#: The processes that stay; workers come and go.
STAYING = ("supervisor", "forkserver", "flusher")
MIB = 2**20

#: Seconds after the load until all of it must have been told.
DRAIN = 120.0

SETTINGS = """
durability = "normal"
default_concurrency = 4
max_workers = 4
retention_days = 0.0001
notification_batch_window_ms = 500
notification_max_batch = 50
"""

#: Curves that must be flat, and what they may rise by besides a tenth: MiB, files, descriptors, tasks.
ALLOWED = {
    "supervisor, MiB": 1.0,
    "fork server, MiB": 1.0,
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
    """What was measured, by name."""

    points: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """One more point of some."""
        for name, value in values.items():
            self.points.setdefault(name, []).append(value)

    def risen(self) -> list[str]:
        """Those that are not flat, in words."""
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
        """Make it."""
        self.options = options
        self.place = Place("soak")
        self.place.snapshot()
        self.place.configure(SETTINGS)
        self.curves = Curves()
        self.launched = self.heard = self.skipped = 0
        self.over = threading.Event()
        self.trouble: list[str] = []

    def go(self) -> None:
        """Load for so long, and measure."""
        up = self.place.run("up", "--detach")
        if up.returncode:
            raise SystemExit(up.stderr)
        threads = [
            threading.Thread(target=self._guarded, args=(part,), daemon=True)
            for part in (self._launch, self._hear, self._prune)
        ]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self.options.minutes * 60
        while time.monotonic() < until and not self.trouble:
            self._measure()
            nap(1.0)
        self.over.set()
        threads[0].join(10)
        self._drain(time.monotonic() + DRAIN)

    def _drain(self, until: float) -> None:
        """What was launched may still come to its end, however slow this machine is."""
        while self.heard < self.launched and time.monotonic() < until and not self.trouble:
            nap(0.2)

    def _guarded(self, part: object) -> None:
        try:
            assert callable(part), "it is one of the three below"
            part()
        except (OSError, KeyError, subprocess.TimeoutExpired) as error:
            self.trouble.append(repr(error))

    def _launch(self) -> None:
        """Ten times a second, a tenth of the rate; not while more than a few seconds' worth wait."""
        wire, due = Wire(self.place.home, patience=60), time.monotonic()
        task = {
            "command": ["true"],
            "parentSessionId": "ses-soak",
            "concurrencyKey": "soak",
            "cwd": str(self.place.project),
        }
        while not self.over.is_set():
            count = self.options.rate // 10
            if self.launched - self.heard < 10 * self.options.rate:
                wire.call("launchMany", tasks=[task] * count)
                self.launched += count
            else:
                self.skipped += count
            due = max(due + 0.1, time.monotonic() - 1)
            nap(due - time.monotonic())

    def _hear(self) -> None:
        wire, unacknowledged = Wire(self.place.home, patience=3600), 0
        wire.call("subscribe", parentSessionId="ses-soak", types=["background_tasks_batch"])
        while True:
            event = wire.read()
            if "method" not in event:
                continue
            self.heard += event["params"]["count"]
            unacknowledged += 1
            if unacknowledged >= 10:
                unacknowledged = 0
                params = {"parentSessionId": "ses-soak", "seq": event["params"]["seq"]}
                line = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "ack", "params": params}) + "\n"
                wire.socket.sendall(line.encode())

    def _prune(self) -> None:
        while not self.over.wait(5):
            done = self.place.run("prune", patience=120)
            if done.returncode:
                self.trouble.append(f"prune: {done.stderr}")

    def _measure(self) -> None:
        roles = {name: [one.pid for one in self.place.role(name)] for name in (*STAYING, "worker")}
        staying = [pid for name in STAYING for pid in roles[name]]
        sizes = [_size(path) for path in _files(self.place.home)]
        values = {f"{name}, MiB": sum(map(resident, roles[name])) / MIB for name in STAYING}
        workers = [resident(pid) / MIB for pid in roles["worker"]]
        values["a worker, MiB"] = statistics.mean(workers) if workers else 0.0
        values["descriptors"] = sum(map(descriptors, staying))
        values["write-ahead log, MiB"] = _size(self.place.home / "backburner.db-wal") / MIB
        values["database, MiB"] = _size(self.place.home / "backburner.db") / MIB
        values |= {"folder, MiB": sum(sizes) / MIB, "files": len(sizes), "tasks waiting": self.launched - self.heard}
        self.curves.add(**values)

    def report(self) -> list[str]:
        """Print the figures, draw them; what is wrong."""
        chart = Chart()
        for name, values in self.curves.points.items():
            words = f"{name}: first {values[0]:.1f} last {values[-1]:.1f} most {max(values):.1f}"
            print(words)
            chart.panel(f"{words} - {len(values)} s", values)
        chart.save(Path(self.options.png))
        seconds = len(self.curves.points["files"])
        print(
            f"launched {self.launched}, told {self.heard} in {seconds} samples;",
            f"held back {self.skipped}; drawn in {self.options.png}",
        )
        log = (self.place.home / "supervisor.log").read_text(errors="replace").splitlines()
        found = [*self.trouble, *self.curves.risen(), *(log[-10:] if self.trouble else [])]
        if self.heard != self.launched:
            found.append(f"of {self.launched} tasks {self.heard} were told to have ended")
        return found


def _files(folder: Path) -> list[Path]:
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names]


def _size(path: Path) -> int:
    """In bytes; of what was removed meanwhile: none."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def main() -> int:
    """Soak, report."""
    parser = argparse.ArgumentParser(description="A steady load: memory, descriptors, log and folder must stay flat.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=100, help="tasks a second")
    parser.add_argument("--png", default="soak.png")
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
