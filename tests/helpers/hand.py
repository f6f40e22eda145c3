"""One of several processes that work on one queue: it is told what to do, a line each, and what time it is.

As a program (`python -m tests.helpers.hand`): commands as JSON on stdin, answers as JSON on stdout. In a test: `Hand`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipc import clock
from ipc.claim import Claimed, Settlement, Slot
from ipc.config import BackgroundConfig
from ipc.database import Database
from ipc.errors import BackburnerError
from ipc.groups import Groups
from ipc.home import Home
from ipc.log import Log
from ipc.queue import Queue
from ipc.settings import apply_configuration
from ipc.task import LaunchInput, TaskStatus
from ipc.tasks import Filter
from tests.helpers.places import IPC, ROOT

#: More events than a test makes.
MANY = 100_000


class Hands:
    """The verbs, in the process that carries them out."""

    def open(self, folder: str, settings: dict[str, Any], first: bool) -> None:
        """Work on that home from now on; the first one applies the settings, as a supervisor does."""
        self.close()
        config = BackgroundConfig.of(settings)
        self._database = Database(Home(Path(folder)).prepare(), "normal")
        self._queue, self._log = Queue(self._database, config), Log(self._database)
        self._groups = Groups(self._database, config)
        if first:
            apply_configuration(self._database, config, [])
            self._groups.configure()

    def close(self) -> None:
        """Let go of the home."""
        if hasattr(self, "_database"):
            self._database.close()
            del self._database

    def launch(self, documents: list[dict[str, Any]]) -> list[tuple[str, bool]]:
        """Accept all of them, or none."""
        launched = self._queue.launch_many([LaunchInput.from_json(document) for document in documents])
        return [(one.id, one.existing) for one in launched]

    def claim(self, group: str, slot: int, owner: int | None) -> dict[str, Any] | None:
        """Start the next task of a group."""
        claimed = self._queue.claim(Slot(group, slot), owner)
        return _brief(claimed)

    def settle(self, how: dict[str, Any], then: list[Any] | None) -> tuple[str | None, dict[str, Any] | None]:
        """End a try and, where told to, begin the next."""
        settlement = Settlement(**{**how, "status": TaskStatus(how["status"])})
        status = self._queue.settle(settlement)
        claimed = None if then is None else self._queue.claim(Slot(then[0], then[1]), then[2])
        return status, _brief(claimed)

    def decide(self, number: int, claim: int, verdict: str, kind: str | None) -> bool:
        """Write a verdict."""
        return self._queue.decide(number, claim, TaskStatus(verdict), "decided", kind)

    def say(self, act: str, id: str) -> str:
        """Cancel, complete, fail or retry."""
        more = {"complete": ["told"], "fail": ["told"]}.get(act, [])
        verb: Callable[..., Any] = getattr(self._queue, act)
        return str(verb(id, *more).status)

    def promote(self) -> list[str]:
        """Let those wait no longer whose time has come."""
        return sorted(self._queue.promote())

    def due(self) -> int | None:
        """When there is something to promote."""
        return self._queue.next_due()

    def limit(self, key: str, most: int | None) -> str:
        """Set a limit."""
        return self._groups.limit(key, most)

    def pause(self, key: str, paused: int) -> str:
        """Pause or resume."""
        return self._groups.pause(key, paused)

    def batch(self, parent: str, most: int) -> int:
        """Tell a parent; of how many tasks."""
        return self._log.form_batch(parent, most)

    def look(self, after: int) -> dict[str, Any]:
        """All tasks, and the events after `after`."""
        tasks = self._queue.list(Filter(limit=None)).tasks
        events = [json.loads(line.text) for line in self._log.read(None, after, MANY)]
        return {"tasks": {task.id: task.brief() for task in tasks}, "events": events}


class Hand:
    """Such a process, from the test's side."""

    def __init__(self) -> None:
        """Start it."""
        path = os.pathsep.join(dict.fromkeys([str(ROOT), str(IPC.parent)]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.hand"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __call__(self, now: int, verb: str, *words: Any) -> Any:
        """Have it do something at that time; the answer, or an error's name with an exclamation mark."""
        assert self._process.stdin is not None and self._process.stdout is not None, "they are pipes"
        self._process.stdin.write(json.dumps([now, verb, words]).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the hand died of {verb}"
        return json.loads(line)

    def end(self) -> None:
        """Have it leave."""
        self._process.communicate(timeout=10)


def _brief(claimed: Claimed | None) -> dict[str, Any] | None:
    return None if claimed is None else {"id": claimed.id, "number": claimed.number, "claim": claimed.claim}


def _obey(hands: Hands, line: str) -> Any:
    now, verb, words = json.loads(line)
    clock.now = lambda: now
    try:
        return getattr(hands, verb)(*words)
    except BackburnerError as error:
        return f"{type(error).__name__}!"


def _main() -> None:
    hands = Hands()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_obey(hands, line)) + "\n")
        sys.stdout.flush()
    hands.close()


if __name__ == "__main__":
    _main()
