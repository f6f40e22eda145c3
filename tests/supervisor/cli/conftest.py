"""Commands that run in the test's own process, and tasks in any state."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Claimed, Settlement, Slot
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.supervisor.cli import main


class Result(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output as one JSON document."""
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a function that runs one command in the test's home."""

    def run(*words: str, stdin: bytes = b"") -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main(words)
        return Result(code, *capsys.readouterr())

    return run


@pytest.fixture
def no_user_settings() -> None:
    """Delete the file that keeps commands of the tests from starting supervisors."""
    (Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml").unlink()


class Tasks:
    """Creates tasks in any state without a supervisor."""

    def __init__(self, home: Path) -> None:
        self._database = SqliteStore(Home(home).prepare())
        self.queue = Queue(self._database, DEFAULT_BACKGROUND_CONFIG)
        self._slots = iter(range(100))

    def pending(self, **fields: Any) -> str:
        """Return a pending task; its agent is `external` by default."""
        launch = LaunchInput(**{"agent": "external", "prompt": "look after it", **fields})
        return self.queue.launch(launch).id

    def running(self, **fields: Any) -> str:
        """Return a running task."""
        return self._claimed(**fields).id

    def ended(self, status: TaskStatus = TaskStatus.COMPLETED, **fields: Any) -> str:
        """Return an ended task."""
        claimed = self._claimed(**fields)
        error = {"error": "no", "error_kind": "failed"} if status is TaskStatus.ERROR else {}
        self.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status, **error))
        return claimed.id

    def get(self, id: str) -> Task:
        """Return the task as it is now."""
        return self.queue.get(id)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _claimed(self, **fields: Any) -> Claimed:
        key = f"key-{next(self._slots)}"
        self.pending(**{"concurrency_key": key, **fields})
        claimed = self.queue.claim(Slot(fields.get("concurrency_key", key), 0), None)
        assert claimed is not None
        return claimed


@pytest.fixture
def tasks(home: Path):
    """Return a factory of tasks in the test's home."""
    found = Tasks(home)
    yield found
    found.close()
