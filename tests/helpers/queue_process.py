"""A process that executes a test's commands on the queue, at times that the test sets.

As a program (`python -m tests.helpers.queue_process`) it reads commands from stdin and writes answers to stdout, a
line of JSON each. A test starts it by `QueueProcess`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import BackburnerError
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Claimed, Ended, Rescued, Settlement, Slot, Step, Taken, Verdict
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store import open_store
from backburner.ipc.store.applied_config import apply_configuration
from backburner.ipc.store.groups import Groups
from backburner.ipc.store.queue import Queue
from tests.helpers.places import IMPORT_ROOT, ROOT

#: More events than any test has.
MANY = 100_000


class QueueCommands:
    """The commands, in the process that executes them."""

    def open(self, folder: str, settings: dict[str, Any], first: bool) -> None:
        """Use that home from now on; with `first`, apply the settings, as a supervisor does."""
        self.close()
        config = BackgroundConfig.of({"durability": "normal", **settings})
        self._store = open_store(Home(Path(folder)).prepare(), config, "command")
        self._queue, self._log = Queue(self._store, config), self._store.events
        self._queue.publication_timeout = 0.0  # no worker runs that could publish
        self._groups = Groups(self._store, config)
        self._maintenance = Maintenance(self._store, config)
        self._taken: dict[int, Taken] = {}
        if first:
            apply_configuration(self._store, config, [])
            self._groups.configure()

    def close(self) -> None:
        """Close the home."""
        if hasattr(self, "_store"):
            self._store.close()
            del self._store

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

    def publish(self, slot: list[Any], owner: int, changes: dict[str, Any]) -> list[dict[str, Any]]:
        """Publish a series and take more. `ended` are settlements, `current` and `returned` are claims."""
        current = changes["current"]
        step = Step(
            Slot(*slot),
            owner,
            ended=[self._ended(how) for how in changes["ended"]],
            current=None if current is None else self._taken[current],
            returned=[self._taken[claim] for claim in changes["returned"]],
            count=changes["count"],
        )
        if step.current is not None and not step.current.current:
            step.current.started_at = clock.now()
        advance = self._queue.advance(step)
        if advance.parked:  # parked workers are tested separately
            self._store.queue.unpark(owner)
        return self._keep(advance.taken)

    def _keep(self, taken: Sequence[Taken]) -> list[dict[str, Any]]:
        self._taken |= {one.claim: one for one in taken}
        return [{"id": one.task.id, "number": one.number, "claim": one.claim} for one in taken]

    def _ended(self, how: dict[str, Any]) -> Ended:
        return Ended(self._taken[how["claim"]], clock.now(), _settlement(how))

    def rescue(self, attempts: list[dict[str, Any]]) -> list[str | None]:
        """Settle the attempts of a dead worker. If `how` is None, the task was held and not started."""
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
        return self._store.queue.cancel_waiting(200)

    def progress(self, id: str) -> None:
        """Report progress on a task."""
        self._queue.progress(id, "half")

    def shift(self, by: int) -> None:
        """Move all times after a step of the wall clock. No task was launched since."""
        self._queue.store.queue.shift(by, clock.now() + 1)

    def configure(self) -> list[int]:
        """Apply the configured limits; return the workers that have to publish before."""
        return sorted(self._groups.configure())

    def record_verdict(self, number: int, claim: int, verdict: str, kind: str | None) -> bool:
        """Record a verdict."""
        return self._queue.record_verdict(number, claim, Verdict(TaskStatus(verdict), "decided", kind))

    def act(self, act: str, id: str) -> str:
        """Cancel, complete, fail or retry."""
        more = {"complete": ["decided"], "fail": ["decided"]}.get(act, [])
        verb: Callable[..., Any] = getattr(self._queue, act)
        return str(verb(id, *more).status)

    def promote(self) -> list[str]:
        """Make tasks ready when their delay is over, and return their groups."""
        return sorted(self._queue.promote())

    def due(self) -> int | None:
        """Return when the next promotion is due."""
        return self._queue.store.queue.next_due()

    def limit(self, key: str, limit: int | None) -> str:
        """Set a limit."""
        return self._groups.limit(key, limit)

    def pause(self, key: str, paused: int) -> str:
        """Pause or resume a key."""
        return self._groups.pause(key) if paused else self._groups.resume(key)

    def batch(self, parent: str, limit: int) -> int:
        """Form a batch for a session, and return the number of its tasks."""
        return self._log.form_batch(parent, limit)

    def contents(self, after: int) -> dict[str, Any]:
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
        """Return the held tasks, and the held tasks of workers that run no task of the same group."""
        held = self._store.queue.all_held()
        running = {one.owner: self._store.queue.assigned(one.owner) for one in held}
        groups = {owner: taken.slot.group for owner, taken in running.items() if taken is not None}
        return {
            "held": {one.id: [one.claim, one.owner, one.requested is not None] for one in held},
            "stray": [one.id for one in held if groups.get(one.owner) != one.group],
        }


class QueueProcess:
    """The process, as a test uses it."""

    def __init__(self) -> None:
        path = os.pathsep.join(dict.fromkeys([str(ROOT), str(IMPORT_ROOT)]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.queue_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __call__(self, now: int, verb: str, *words: Any) -> Any:
        """Execute a command at a time; return the answer, or the name of an error with an exclamation mark."""
        self.send(now, verb, *words)
        return self.receive()

    def send(self, now: int, verb: str, *words: Any) -> None:
        """Send a command, without waiting for its answer."""
        assert self._process.stdin is not None, "it is a pipe"
        self._process.stdin.write(json.dumps([now, verb, words]).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Return the answer to the next command that has none yet."""
        assert self._process.stdout is not None, "it is a pipe"
        line = self._process.stdout.readline()
        assert line, "the process died"
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
