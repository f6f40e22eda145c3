"""A process that uses the queue by order of a test, at times that the test chooses.

As a program (`python -m tests.helpers.queue_process`) it reads commands from stdin and writes answers to stdout, a
line of JSON each. A test starts it by `QueueProcess`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import BackburnerError
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Claimed, Ended, Rescued, Settlement, Slot, Step, Taken
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.applied_config import apply_configuration
from backburner.ipc.store.groups import Groups
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.values import Filter, Verdict
from tests.helpers.places import IMPORT_ROOT, ROOT

#: More events than any test has.
MANY = 100_000

#: Held tasks with what the Python API does not show: claim, owner, and whether another process requested them.
HELD = "SELECT id, held, owner, requested IS NOT NULL FROM tasks WHERE ready = 2 OR held IS NOT NULL"

#: Held tasks without a running task of their worker in the same group.
STRAY = """SELECT count(*) FROM tasks h WHERE h.ready = 2 AND NOT EXISTS (
  SELECT 1 FROM tasks r WHERE r.status = 'running' AND r.owner = h.owner AND r.limit_group = h.limit_group)"""


class QueueCommands:
    """The commands, in the process that executes them."""

    def open(self, folder: str, settings: dict[str, Any], first: bool) -> None:
        """Use that home from now on; with `first`, apply the settings, as a supervisor does."""
        self.close()
        config = BackgroundConfig.of(settings)
        self._database = SqliteStore(Home(Path(folder)).prepare(), "normal")
        self._queue, self._log = Queue(self._database, config), self._database.events
        self._queue.publication_timeout = 0.0  # no worker lives that could publish
        self._groups = Groups(self._database, config)
        self._maintenance = Maintenance(self._database, config)
        self._taken: dict[int, Taken] = {}
        if first:
            apply_configuration(self._database, config, [])
            self._groups.configure()

    def close(self) -> None:
        """Close the home."""
        if hasattr(self, "_database"):
            self._database.close()
            del self._database

    def launch(self, documents: list[dict[str, Any]]) -> list[tuple[str, bool]]:
        """Launch all of these tasks, or none."""
        launched = self._queue.launch_many([LaunchInput.from_json(document) for document in documents])
        return [(one.id, one.existing) for one in launched]

    def claim(self, group: str, slot: int, owner: int | None) -> dict[str, Any] | None:
        """Claim the next task of a group."""
        claimed = self._queue.claim(Slot(group, slot), owner)
        return _brief(claimed)

    def settle(self, how: dict[str, Any], then: list[Any] | None) -> tuple[str | None, dict[str, Any] | None]:
        """Settle an attempt and, with `then`, claim the next task."""
        status = self._queue.settle(_settlement(how))
        claimed = None if then is None else self._queue.claim(Slot(then[0], then[1]), then[2])
        return status, _brief(claimed)

    def take(self, group: str, slot: int, owner: int, count: int) -> list[dict[str, Any]]:
        """Start a task, and hold up to `count` - 1 tasks behind it."""
        return self._keep(self._queue.take(Slot(group, slot), owner, count))

    def publish(self, slot: list[Any], owner: int, what: dict[str, Any]) -> list[dict[str, Any]]:
        """Publish a series, and take `count` more: `ended` has settlements, `current` and `returned` have claims."""
        current = what["current"]
        step = Step(
            Slot(*slot),
            owner,
            ended=[self._ended(how) for how in what["ended"]],
            current=None if current is None else self._taken[current],
            returned=[self._taken[claim] for claim in what["returned"]],
            count=what["count"],
        )
        if step.current is not None and not step.current.current:
            step.current.started_at = clock.now()
        advance = self._queue.advance(step)
        if advance.parked:  # parked workers are tested separately
            self._database.queue.unpark(owner)
        return self._keep(advance.taken)

    def _keep(self, taken: Sequence[Taken]) -> list[dict[str, Any]]:
        self._taken |= {one.claim: one for one in taken}
        return [{"id": one.task.id, "number": one.number, "claim": one.claim} for one in taken]

    def _ended(self, how: dict[str, Any]) -> Ended:
        return Ended(self._taken[how["claim"]], clock.now(), _settlement(how))

    def rescue(self, attempts: list[dict[str, Any]]) -> list[str | None]:
        """Settle the attempts of a dead worker; `how` None: the task was held and not started."""
        return self._queue.rescue(
            [
                Rescued(one["number"], one["claim"], how and _settlement(how), one["group"], clock.now())
                for one in attempts
                for how in [one["how"]]
            ]
        )

    def cancel_all(self, ids: list[str]) -> list[str]:
        """Cancel tasks, many in one transaction."""
        return self._queue.cancel_all(ids)

    def cancel_waiting(self) -> int:
        """Cancel all pending tasks, as a clear does; return how many."""
        return self._database.queue.cancel_waiting(200)

    def progress(self, id: str) -> None:
        """Report progress on a task."""
        self._queue.progress(id, "half")

    def shift(self, by: int) -> None:
        """Follow a step of the wall clock; no task was launched since."""
        self._queue.store.queue.shift(by, clock.now() + 1)

    def configure(self) -> list[int]:
        """Apply the configured limits; return the workers that have to publish before."""
        return sorted(self._groups.configure())

    def decide(self, number: int, claim: int, verdict: str, kind: str | None) -> bool:
        """Write a verdict."""
        return self._queue.record_verdict(number, claim, Verdict(TaskStatus(verdict), "decided", kind))

    def act(self, act: str, id: str) -> str:
        """Cancel, complete, fail or retry."""
        more = {"complete": ["decided"], "fail": ["decided"]}.get(act, [])
        verb: Callable[..., Any] = getattr(self._queue, act)
        return str(verb(id, *more).status)

    def promote(self) -> list[str]:
        """Make tasks ready whose delay is over, and return their groups."""
        return sorted(self._queue.promote())

    def due(self) -> int | None:
        """Return the time of the next promotion."""
        return self._queue.store.queue.next_due()

    def limit(self, key: str, most: int | None) -> str:
        """Set a limit."""
        return self._groups.limit(key, most)

    def pause(self, key: str, paused: int) -> str:
        """Pause or resume a key."""
        return self._groups.pause(key) if paused else self._groups.resume(key)

    def batch(self, parent: str, most: int) -> int:
        """Form a batch for a parent, and return the number of its tasks."""
        return self._log.form_batch(parent, most)

    def look(self, after: int) -> dict[str, Any]:
        """Return all tasks, and the events after `after`."""
        tasks = self._queue.list(Filter(limit=None)).tasks
        events = [json.loads(line.text) for line in self._log.read(None, after, MANY)]
        return {
            "tasks": {task.id: task.brief() for task in tasks},
            "events": events,
            "pending": {group.name: group.pending for group in self._groups.all() if group.pending},
            **self._held(),
        }

    def _held(self) -> dict[str, Any]:
        with closing(sqlite3.connect(self._database.home.database)) as raw:
            held = {id: [claim, owner, bool(requested)] for id, claim, owner, requested in raw.execute(HELD)}
            return {"held": held, "stray": raw.execute(STRAY).fetchone()[0]}


class QueueProcess:
    """The process, from the side of the test."""

    def __init__(self) -> None:
        path = os.pathsep.join(dict.fromkeys([str(ROOT), str(IMPORT_ROOT)]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.queue_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __call__(self, now: int, verb: str, *words: Any) -> Any:
        """Execute a command at that time; return the answer, or the name of an error with an exclamation mark."""
        assert self._process.stdin is not None and self._process.stdout is not None, "they are pipes"
        self._process.stdin.write(json.dumps([now, verb, words]).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process died in {verb}"
        return json.loads(line)

    def end(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)


def _settlement(how: Mapping[str, Any]) -> Settlement:
    return Settlement(**{**how, "status": TaskStatus(how["status"])})


def _brief(claimed: Claimed | None) -> dict[str, Any] | None:
    return None if claimed is None else {"id": claimed.id, "number": claimed.number, "claim": claimed.claim}


def _execute(commands: QueueCommands, line: str) -> Any:
    now, verb, words = json.loads(line)
    clock.now = lambda: now
    try:
        return getattr(commands, verb)(*words)
    except BackburnerError as error:
        return f"{type(error).__name__}!"
    except AssertionError as error:  # the schema broke a promise: the test fails, and hypothesis shrinks it
        return f"AssertionError! {error}"


def _main() -> None:
    commands = QueueCommands()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_execute(commands, line)) + "\n")
        sys.stdout.flush()
    commands.close()


if __name__ == "__main__":
    _main()
