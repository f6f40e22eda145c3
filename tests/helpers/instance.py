"""An instance of backburner: a home and its processes, used by a test like by a client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from backburner.ipc.api import control
from backburner.ipc.bus.client import Client
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.home import Home
from backburner.ipc.model.event import Event
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store import open_store
from backburner.ipc.store.interface import Store
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.status import status
from tests.helpers.commands import backburner, backburner_here
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

#: A command that runs until it is killed.
FOREVER = (sys.executable, "-S", "-c", "import signal; signal.pause()")

#: The configuration of the test's own connection, which need not sync.
NORMAL = BackgroundConfig(durability="normal")

#: Seconds after which a condition that should hold in a fraction of a second is given up.
TIMEOUT = 30.0


def is_removed(folder: Path) -> bool:
    """Remove a folder, and return False if its processes have added a file meanwhile."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


class Instance:
    """A home, in which a test launches tasks, looks at them and kills processes."""

    def __init__(self, folder: Path) -> None:
        """Use that folder; nothing is started."""
        self.folder = folder
        self.timeout = TIMEOUT
        self.home = Home(folder)
        self._store: Store | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close_store()

    @property
    def store(self) -> Store:
        """Return the store, opened once for the test."""
        if self._store is None:
            self._store = open_store(self.home.prepare(), NORMAL, "command")
        return self._store

    @property
    def queue(self) -> Queue:
        """Return the queue, with the default configuration."""
        return Queue(self.store, BackgroundConfig())

    def close_store(self) -> None:
        """Close the store before its file is replaced or read."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def up(self, **settings: object) -> Self:
        """Start a supervisor with these settings, which override all files."""
        control.start(self.home, settings)
        return self

    def down(self, now: bool = False, requeue: bool = False) -> None:
        """Stop the supervisor."""
        control.stop(self.home, now=now, requeue=requeue)

    def kill(self, role: str) -> int:
        """Kill a role, wait for its death, and return its pid."""
        pid = self.pid_of(role)
        kill(pid)
        return pid

    def pid_of(self, role: str) -> int:
        """Return the pid of a role as `status` shows it."""
        found: int = eventually(lambda: self.status()[role], self.timeout, f"a {role}")["pid"]
        return found

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a backburner command in a separate process."""
        return backburner(self.folder, *words, stdin=stdin)

    def run_here(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a backburner command in this process, which is faster."""
        return backburner_here(self.folder, *words, stdin=stdin)

    def check(self, *words: str, stdin: str | None = None) -> str:
        """Run a backburner command that must succeed in this process, and return its output."""
        done = self.run_here(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.returncode, done.stderr)
        return done.stdout

    def launch(self, *argv: str, **fields: Any) -> str:
        """Launch a command, or a task of these fields (named as on the socket), and return its id."""
        document = {"cwd": str(self.folder.parent), **({"command": list(argv)} if argv else {}), **fields}
        return self.queue.launch(LaunchInput.from_json(document)).id

    def launch_sleeper(self, **fields: Any) -> str:
        """Launch a command that runs until it is killed, and wait until it runs."""
        id = self.launch(*FOREVER, **fields)
        self.pid(id)
        return id

    def task(self, id: str) -> Task:
        """Return a task."""
        return self.queue.get(id)

    def pid(self, id: str) -> int:
        """Wait for the first process of a task, and return its pid."""
        return eventually(lambda: self.task(id).pid, self.timeout, f"{id} to have a process") or 0

    def until(self, id: str, *wanted: str) -> Task:
        """Wait until a task has one of these statuses, by default until it has ended."""
        statuses = [TaskStatus(name) for name in wanted] or [one for one in TaskStatus if one.ended]
        eventually(lambda: self.task(id).status in statuses, self.timeout, f"{id} to be {statuses}: {self.task(id)}")
        return self.task(id)

    def result(self, *argv: str, **fields: Any) -> Task:
        """Launch a task, and wait for its end."""
        return self.until(self.launch(*argv, **fields))

    def status(self) -> dict[str, Any]:
        """Return the document that `status` shows."""
        return status(self.store)

    def worker_of(self, id: str) -> int:
        """Return the pid of the worker that runs a task."""

        def find() -> int | None:
            return next((worker["pid"] for worker in self.status()["workers"] if worker["taskId"] == id), None)

        return eventually(find, self.timeout, f"a worker of {id}") or 0

    def key(self, name: str) -> dict[str, Any]:
        """Return a limit group as `status` shows it."""
        return next((one for one in self.status()["keys"] if one["key"] == name), {})

    # events

    def events(self, parent: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """Return the events in the log as subscribers receive them."""
        found: list[dict[str, Any]] = []
        log = self.store.events
        while lines := log.read(parent, after, 1000):
            found += [json.loads(line.text) for line in lines]
            after = lines[-1].seq
        return found

    def ends(self, id: str) -> list[dict[str, Any]]:
        """Return the events of a task's ends."""
        kind = "background_task_completed"
        return [event for event in self.events() if event["type"] == kind and event["taskId"] == id]

    def batches(self, parent: str, count: int) -> list[dict[str, Any]]:
        """Wait until `count` ends of a parent are in batches, and return the batches."""

        def find() -> list[dict[str, Any]]:
            batches = [one for one in self.events(parent) if one["type"] == "background_tasks_batch"]
            return batches if sum(one["count"] for one in batches) >= count else []

        return eventually(find, self.timeout, f"{count} ends of {parent} in batches")

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Connect to the socket."""
        with Client(self.home, connect_timeout=self.timeout) as client:
            yield client

    def listen(self, parent: str, last: Callable[[Event], bool], after: int = 0) -> list[Event]:
        """Return a parent's events up to the one that `last` accepts."""
        received: list[Event] = []
        with self.client() as client:
            for event in client.events(parent, after):
                received.append(event)
                if last(event):
                    break
        return received

    def files(self) -> list[str]:
        """Return the files of tasks that are left."""
        folders = (self.folder / "output", self.folder / "input")
        return sorted(str(path) for folder in folders if folder.is_dir() for path in folder.iterdir())


def as_toml(values: Mapping[str, object]) -> str:
    """Return a configuration file with these settings."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
