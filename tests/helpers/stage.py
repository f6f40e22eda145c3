"""A home with a supervisor in processes of its own, and a test that looks at it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil

from backburner.ipc.api import control
from backburner.ipc.bus.client import Client
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.home import Home
from backburner.ipc.model.event import Event
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.status import status
from tests.helpers.commands import backburner
from tests.helpers.wait import eventually

#: A command that runs until it is ended from outside.
FOREVER = (sys.executable, "-S", "-c", "import signal; signal.pause()")

#: Seconds that a test waits for what should come in a fraction of one.
PATIENCE = 30.0


class Stage:
    """One home: launch in it, look at it, kill in it."""

    def __init__(self, folder: Path) -> None:
        """Work in that folder; nothing is started."""
        self.folder = folder
        self.patience = PATIENCE
        self.home = Home(folder)
        self._database: SqliteStore | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.forget()

    @property
    def database(self) -> SqliteStore:
        """A connection of the test's own, as a launcher's."""
        if self._database is None:
            self._database = SqliteStore(self.home.prepare(), "normal")
        return self._database

    @property
    def queue(self) -> Queue:
        """The queue, as a launcher without a configuration sees it."""
        return Queue(self.database, BackgroundConfig())

    def forget(self) -> None:
        """Let go of the database, before it is replaced or looked at byte by byte."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # power

    def up(self, **settings: object) -> Self:
        """Start a supervisor with these settings, which win over all files."""
        control.start(self.home, settings)
        return self

    def down(self, now: bool = False, requeue: bool = False) -> None:
        """Stop it."""
        control.stop(self.home, now=now, requeue=requeue)

    def kill(self, role: str) -> int:
        """SIGKILL a role, and wait until the kernel says that it is gone; its number."""
        pid = self.pid_of(role)
        kill(pid)
        return pid

    def pid_of(self, role: str) -> int:
        """Who plays a role now, as `status` tells."""
        found: int = eventually(lambda: self.status()[role], self.patience, f"a {role}")["pid"]
        return found

    # the command line

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of ours."""
        return backburner(self.folder, *words, stdin=stdin)

    def say(self, *words: str, stdin: str | None = None) -> str:
        """What a command that must succeed prints."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.returncode, done.stderr)
        return done.stdout

    # tasks

    def launch(self, *argv: str, **fields: Any) -> str:
        """Launch a command (or whatever the fields say, named as on the socket); its id."""
        document = {"cwd": str(self.folder.parent), **({"command": list(argv)} if argv else {}), **fields}
        return self.queue.launch(LaunchInput.from_json(document)).id

    def sleeper(self, **fields: Any) -> str:
        """Launch what runs until it is ended, and wait until it runs."""
        id = self.launch(*FOREVER, **fields)
        self.pid(id)
        return id

    def task(self, id: str) -> Task:
        """One task as it is now."""
        return self.queue.get(id)

    def pid(self, id: str) -> int:
        """The first process of a running task, once it is known."""
        return eventually(lambda: self.task(id).pid, self.patience, f"{id} to have a process") or 0

    def until(self, id: str, *wanted: str) -> Task:
        """Wait until a task has one of these statuses (without any: until it has ended)."""
        statuses = [TaskStatus(name) for name in wanted] or [one for one in TaskStatus if one.ended]
        eventually(lambda: self.task(id).status in statuses, self.patience, f"{id} to be {statuses}: {self.task(id)}")
        return self.task(id)

    def result(self, *argv: str, **fields: Any) -> Task:
        """Launch, and wait for the end."""
        return self.until(self.launch(*argv, **fields))

    def status(self) -> dict[str, Any]:
        """The status document."""
        return status(self.database)

    def worker_of(self, id: str) -> int:
        """The worker that runs a task."""

        def find() -> int | None:
            return next((worker["pid"] for worker in self.status()["workers"] if worker["taskId"] == id), None)

        return eventually(find, self.patience, f"a worker of {id}") or 0

    def key(self, name: str) -> dict[str, Any]:
        """A limit group as `status` shows it."""
        return next((one for one in self.status()["keys"] if one["key"] == name), {})

    # events

    def events(self, parent: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """What the log holds, as subscribers hear it."""
        found: list[dict[str, Any]] = []
        log = self.database.events
        while lines := log.read(parent, after, 1000):
            found += [json.loads(line.text) for line in lines]
            after = lines[-1].seq
        return found

    def ends(self, id: str) -> list[dict[str, Any]]:
        """The events that told of a task's end."""
        kind = "background_task_completed"
        return [event for event in self.events() if event["type"] == kind and event["taskId"] == id]

    def batches(self, parent: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many ends of a parent are told in batches; the batches."""

        def told() -> list[dict[str, Any]]:
            batches = [one for one in self.events(parent) if one["type"] == "background_tasks_batch"]
            return batches if sum(one["count"] for one in batches) >= count else []

        return eventually(told, self.patience, f"{count} ends of {parent} in batches")

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection to the bus."""
        with Client(self.home, patience=self.patience) as client:
            yield client

    def listen(self, parent: str, last: Callable[[Event], bool], after: int = 0) -> list[Event]:
        """Hear a parent's events until the last one."""
        heard: list[Event] = []
        with self.client() as client:
            for event in client.events(parent, after):
                heard.append(event)
                if last(event):
                    break
        return heard

    # what is left

    def files(self) -> list[str]:
        """The files of tasks that are still there."""
        folders = (self.folder / "output", self.folder / "input")
        return sorted(str(path) for folder in folders if folder.is_dir() for path in folder.iterdir())


def kill(pid: int) -> None:
    """SIGKILL, and wait for the death; a zombie is dead."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not lives(pid), PATIENCE, f"the death of {pid}")


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pids: Sequence[int]) -> bool:
    """Whether none of them lives."""
    return not any(map(lives, pids))


def numbers(path: Path, count: int) -> list[int]:
    """Wait for a file with so many whole lines of numbers."""

    def read() -> list[int]:
        lines = path.read_text().split("\n") if path.exists() else []
        found = [int(line) for line in lines[:-1]]
        return found if len(found) >= count else []

    return eventually(read, PATIENCE, f"{count} numbers in {path}")


def descriptors(pid: int) -> dict[str, str]:
    """What a process holds open, by number."""
    return {path.name: _target(path) for path in Path(f"/proc/{pid}/fd").iterdir()}


def settings(values: Mapping[str, object]) -> str:
    """A configuration file with these settings."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""
