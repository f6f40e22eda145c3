"""Backburner under measurement: its home, a program that launches, and a subscriber on the socket."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.bench_parts.remote import Remote
from tests.helpers.blackbox import ROOT, Place
from tests.helpers.invariants import ENDED
from tests.helpers.processes import cpu_times
from tests.helpers.rpc import RpcClient

#: Workers stay, like those of the other systems. Supervisors are started by the benchmarks alone.
STEADY: Mapping[str, object] = {"default_concurrency": 2, "worker_idle_s": 3600, "autostart": False}

#: Tasks that are launched in one transaction where they are launched in bulk.
CHUNK = 100

NOOP = "def noop():\n    return None\n"


class BenchHome(Place):
    """A home with its settings, and the processes that use it."""

    def __init__(self, project: Path, *more: Any) -> None:
        super().__init__(project, *more)
        self.description = ""
        self._remotes: list[Remote] = []
        self._subscribers: list[EndSubscriber] = []

    @classmethod
    def with_settings(cls, **settings: object) -> BenchHome:
        """Create a home with these settings; nothing is started."""
        home = cls.create("bench")
        home.snapshot()
        settings = {**STEADY, **settings}
        home.configure("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        (home.project / "noop.py").write_text(NOOP)
        home.description = f"{_version()}, " + ", ".join(f"{name} = {value}" for name, value in settings.items())
        return home

    def up(self) -> None:
        """Start the supervisor."""
        self.check("up", "--detach")

    def cpu(self) -> dict[str, float]:
        """Return the seconds of CPU that were used, by role, by launchers and by the tasks' processes."""
        found = {"launcher": sum(sum(cpu_times(one.pid)) for one in self._remotes), "tasks": 0.0}
        for one in self.processes():
            if one.role is not None:
                own, of_children = cpu_times(one.pid)
                found[one.role] = found.get(one.role, 0.0) + own
                found["tasks"] += of_children
        return found

    def remote(self, factory: str, *arguments: object) -> Remote:
        """Start a remote function in the environment of this home."""
        self._remotes.append(Remote(factory, *arguments, environment=self.environment))
        return self._remotes[-1]

    def launcher(self) -> Remote:
        """Start a program that launches."""
        return self.remote("scripts.bench_parts.ours:launcher", str(self.home))

    def subscriber(self, parent: str) -> EndSubscriber:
        """Subscribe to the ends of a parent's tasks."""
        self._subscribers.append(EndSubscriber(self.home, parent))
        return self._subscribers[-1]

    def task(self, **fields: object) -> dict[str, object]:
        """Return the fields of a launch, in Python's spelling."""
        return {"concurrency_key": "bench", "cwd": str(self.project), **fields}

    def drain(self, launcher: Remote, parent: str, count: int, task: dict[str, object]) -> float:
        """Launch tasks in bulk until a subscriber has received the last end, and return their number per second."""
        subscriber = self.subscriber(parent)
        launcher.start(parent=parent, count=count, chunk=CHUNK, task=self.task(**task))
        ended, events = subscriber.ends(count)
        launched = launcher.result()
        subscriber.close()
        check_completed(launched["ids"], events)
        return count / (ended - launched["began"])

    def close(self) -> None:
        """End everything, and delete the home."""
        for one in (*self._subscribers, *self._remotes):
            one.close()
        self.run("down", "--now")
        self.remove()


class EndSubscriber(RpcClient):
    """A subscriber that counts the ends of a parent's tasks, and decodes them when all have arrived."""

    def __init__(self, home: Path, parent: str, timeout: float = 120.0) -> None:
        super().__init__(home / "bus.sock", timeout)
        self.call("subscribe", parentSessionId=parent, types=[ENDED])

    def ends(self, count: int) -> tuple[float, list[dict[str, Any]]]:
        """Wait for ends; return when the last one arrived, and the events."""
        lines = self.receive_lines(count)
        return time.monotonic(), [json.loads(line)["params"] for line in lines]

    def next_ends(self) -> list[dict[str, Any]]:
        """Wait for at least one end, and return all that have arrived."""
        return [json.loads(line)["params"] for line in self.receive_lines(1)]


def launcher(home: str) -> Callable[..., dict[str, object]]:
    """Return a remote function that launches tasks of a parent by the Python package, `chunk` in a transaction."""
    from backburner import BackgroundManager

    manager = BackgroundManager(home)

    def launch(parent: str, count: int, chunk: int, task: dict[str, Any]) -> dict[str, object]:
        fields = {**task, "parent_session_id": parent}
        ids, waits, began, cpu = [], [], time.monotonic(), time.process_time()
        for start in range(0, count, chunk):
            before = time.monotonic()
            ids += [one.id for one in manager.launch_many([fields] * min(chunk, count - start))]
            waits.append(time.monotonic() - before)
        used = time.process_time() - cpu
        return {"began": began, "ended": time.monotonic(), "ids": ids, "waits": waits, "cpu": used}

    return launch


def check_completed(ids: list[str], events: list[dict[str, Any]]) -> None:
    """Raise RuntimeError unless each launched task has completed, once."""
    if sorted(event["taskId"] for event in events) != sorted(ids):
        raise RuntimeError(f"{len(ids)} tasks were launched, and the {len(events)} ends are of other ones")
    failed = [event for event in events if event["status"] != "completed"]
    if failed:
        raise RuntimeError(f"a task did not complete: {failed[0]}")


def _version() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown version"
