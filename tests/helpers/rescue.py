"""How long it takes until a killed worker's slot is in use again, and what is left by then."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from backburner.ipc import clock
from tests.helpers.stage import Stage, gone, numbers

#: Writes down the numbers of a leader, its child, and a daemon in a session of its own with an empty environment.
TREE = """
import os, signal, sys
def stay():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    while True:
        signal.pause()
if sys.argv[2:]:
    stay()
if os.fork() == 0:
    stay()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-S", "-c", sys.orig_argv[3], sys.argv[1], "stay"], {})
    os._exit(0)
os.wait()
stay()
"""

#: Writes down when it started, in microseconds of the clock that all processes share.
STAMP = "import sys, time; open(sys.argv[1], 'w').write(f'{int(time.monotonic() * 1e6)}\\n')"


class Rescue(NamedTuple):
    """One killed worker: seconds until its slot's next task ran, and whether all was in order then."""

    seconds: float
    status: str | None
    tree_gone: bool
    settled_first: bool

    @property
    def well(self) -> bool:
        """The dead worker's task was lost, with its tree, before the next one began."""
        return self.status == "lost" and self.tree_gone and self.settled_first


def rescue(stage: Stage, folder: Path) -> Rescue:
    """Kill a worker while its tree runs, in a group of one slot for which another task waits."""
    folder.mkdir()
    pids, stamp = folder / "pids", folder / "stamp"
    first = stage.launch(sys.executable, "-S", "-c", TREE, str(pids), concurrencyKey="rescue")
    tree, worker = numbers(pids, 3), stage.worker_of(first)
    second = stage.launch(sys.executable, "-S", "-c", STAMP, str(stamp), concurrencyKey="rescue")
    killed = clock.monotonic()
    os.kill(worker, signal.SIGKILL)
    started = numbers(stamp, 1)[0] / 1e6
    tree_gone = gone(tree)
    stage.until(second)
    return Rescue(started - killed, stage.task(first).error_kind, tree_gone, _settled_first(stage, first, second))


def _settled_first(stage: Stage, first: str, second: str) -> bool:
    kinds = [(event["type"], event["taskId"]) for event in stage.events() if "taskId" in event]
    return kinds.index(("background_task_completed", first)) < kinds.index(("background_task_started", second))


def summary(rescues: list[Rescue]) -> str:
    """Median and worst in words."""
    times = [one.seconds * 1000 for one in rescues]
    return f"{len(times)} trials: median {median(times):.0f} ms, worst {max(times):.0f} ms"
