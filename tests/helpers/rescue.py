"""Measures how soon the slot of a killed worker is in use again, and checks that nothing of its task is left."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.helpers.instance import Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.processes import are_gone, send_signal

#: Records the pids of a leader, its child, and a daemon with its own session and an empty environment.
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

#: Records when it started, in microseconds of the monotonic clock.
STAMP = "import sys, time; open(sys.argv[1], 'w').write(f'{int(time.monotonic() * 1e6)}\\n')"


class Rescue(NamedTuple):
    """A killed worker: the seconds until the next task of its slot ran, and the state by then."""

    seconds: float
    status: str | None
    tree_gone: bool
    settled_first: bool

    @property
    def is_in_order(self) -> bool:
        """Return True if the task was lost, and its tree gone, before the next one started."""
        return self.status == "lost" and self.tree_gone and self.settled_first


def rescue(instance: Instance, folder: Path) -> Rescue:
    """Kill a worker while its process tree runs, and while another task waits for its only slot."""
    folder.mkdir()
    pids, stamp = folder / "pids", folder / "stamp"
    first = instance.launch(sys.executable, "-S", "-c", TREE, str(pids), concurrencyKey="rescue")
    tree, worker = wait_for_numbers(pids, 3), instance.worker_of(first)
    second = instance.launch(sys.executable, "-S", "-c", STAMP, str(stamp), concurrencyKey="rescue")
    killed = time.monotonic()
    send_signal(worker, signal.SIGKILL)
    started = wait_for_numbers(stamp, 1)[0] / 1e6
    tree_gone = are_gone(tree)
    instance.until(second)
    return Rescue(started - killed, instance.task(first).error_kind, tree_gone, _settled_first(instance, first, second))


def _settled_first(instance: Instance, first: str, second: str) -> bool:
    kinds = [(event["type"], event["taskId"]) for event in instance.events() if "taskId" in event]
    return kinds.index(("background_task_completed", first)) < kinds.index(("background_task_started", second))


def summary(rescues: list[Rescue]) -> str:
    """Return the median and the worst time as text."""
    times = [one.seconds * 1000 for one in rescues]
    return f"{len(times)} trials: median {median(times):.0f} ms, worst {max(times):.0f} ms"
