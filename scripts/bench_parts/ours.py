"""A home under load: its processes, one who launches (a program of a user's), one who is told (over the socket)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.bench_parts.errands import Errand
from scripts.trials.outside import ROOT, Place

#: Workers stay, as those of the others do.
STEADY: Mapping[str, object] = {"default_concurrency": 2, "worker_idle_s": 3600}

#: Tasks that are launched in one transaction, where they are launched in bulk.
CHUNK = 100

ENDED = "background_task_completed"
NOOP = "def noop():\n    return None\n"


class House:
    """One home and its supervisor."""

    def __init__(self, **settings: object) -> None:
        """Make it, with these settings; nothing is started."""
        self.place = Place("bench")
        self.place.snapshot()
        settings = {**STEADY, **settings}
        self.place.configure("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
        (self.place.project / "noop.py").write_text(NOOP)
        self.described = f"{_version()}, " + ", ".join(f"{name} = {value}" for name, value in settings.items())
        self._errands: list[Errand] = []
        self._ears: list[Ear] = []

    def run(self, *words: str) -> str:
        """Run a command; what it printed."""
        done = self.place.run(*words)
        if done.returncode:
            raise RuntimeError(f"backburner {' '.join(words)}: {done.stderr}")
        return done.stdout

    def up(self) -> None:
        """Start the supervisor."""
        self.run("up", "--detach")

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU so far, by role; those of the tasks' own processes apart, and of those who launch."""
        found = {"launcher": sum(sum(cpu_of(errand.pid)) for errand in self._errands), "tasks": 0.0}
        for one in self.place.processes():
            if one.name.startswith("bb-"):
                itself, children = cpu_of(one.pid)
                found[one.name[3:]] = found.get(one.name[3:], 0.0) + itself
                found["tasks"] += children
        return found

    def errand(self, factory: str, *arguments: object) -> Errand:
        """A process that has this home for its own."""
        errand = Errand(factory, *arguments, environment=self.place.environment)
        self._errands.append(errand)
        return errand

    def ear(self, parent: str) -> Ear:
        """A subscriber."""
        ear = Ear(self.place.home, parent)
        self._ears.append(ear)
        return ear

    def task(self, **said: object) -> dict[str, object]:
        """A launch, in Python's spelling."""
        return {"concurrency_key": "bench", "cwd": str(self.place.project), **said}

    def launcher(self) -> Errand:
        """A program that launches."""
        return self.errand("scripts.bench_parts.ours:launcher", str(self.place.home))

    def drain(self, launcher: Errand, parent: str, count: int, task: dict[str, object]) -> float:
        """Tasks a second: so many, launched by the hundred, until a subscriber has the last end."""
        ear = self.ear(parent)
        launcher.ask(parent=parent, count=count, chunk=CHUNK, task=self.task(**task))
        ended, events = ear.hear(count)
        launched = launcher.answer()
        ear.close()
        check(launched["ids"], events)
        return count / (ended - launched["began"])

    def close(self) -> None:
        """End all of it, and delete it."""
        for one in (*self._ears, *self._errands):
            one.close()
        self.place.run("down", "--now")
        self.place.remove()


class Ear:
    """A subscriber that counts the ends of a parent's tasks, and looks at them when all are there."""

    def __init__(self, home: Path, parent: str, patience: float = 120.0) -> None:
        """Subscribe."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(patience)
        self._socket.connect(str(home / "bus.sock"))
        params = {"parentSessionId": parent, "types": [ENDED]}
        request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        self._heard = b""
        while b"\n" not in self._heard:
            self._heard += self._read()
        self._heard = self._heard.partition(b"\n")[2]

    def hear(self, count: int) -> tuple[float, list[dict[str, Any]]]:
        """Wait for so many ends: when the last was there, and what was told. Raises TimeoutError."""
        pieces, lines = [self._heard], self._heard.count(b"\n")
        while lines < count:
            pieces.append(self._read())
            lines += pieces[-1].count(b"\n")
        at = time.monotonic()
        *whole, self._heard = b"".join(pieces).split(b"\n")
        return at, [json.loads(line)["params"] for line in whole]

    def here(self) -> list[dict[str, Any]]:
        """What has come by now; waits for something."""
        *whole, self._heard = (self._heard + self._read()).split(b"\n")
        return [json.loads(line)["params"] for line in whole]

    def fileno(self) -> int:
        """To be polled."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the bus hung up")
        return data


def cpu_of(pid: int) -> tuple[float, float]:
    """Seconds of CPU of a process, and of its children that have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0.0, 0.0
    own, system, children, theirs = map(int, stat[stat.rindex(b")") + 2 :].split()[11:15])
    tick = os.sysconf("SC_CLK_TCK")
    return (own + system) / tick, (children + theirs) / tick


def launcher(home: str) -> Callable[..., dict[str, object]]:
    """An errand: launch tasks of a parent, so many at once, through the Python front door."""
    from backburner import BackgroundManager

    manager = BackgroundManager(home)

    def launch(parent: str, count: int, chunk: int, task: dict[str, Any]) -> dict[str, object]:
        wanted = {**task, "parent_session_id": parent}
        ids, waits, began, cpu = [], [], time.monotonic(), time.process_time()
        for start in range(0, count, chunk):
            before = time.monotonic()
            ids += [one.id for one in manager.launch_many([wanted] * min(chunk, count - start))]
            waits.append(time.monotonic() - before)
        used = time.process_time() - cpu
        return {"began": began, "ended": time.monotonic(), "ids": ids, "waits": waits, "cpu": used}

    return launch


def check(ids: list[str], events: list[dict[str, Any]]) -> None:
    """Each that was launched has ended well, once. Raises RuntimeError."""
    if sorted(event["taskId"] for event in events) != sorted(ids):
        raise RuntimeError(f"{len(ids)} were launched, {len(events)} other ends were told")
    unwell = [event for event in events if event["status"] != "completed"]
    if unwell:
        raise RuntimeError(f"a task did not end well: {unwell[0]}")


def _version() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown version"
