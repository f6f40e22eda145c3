"""Housekeeping: what is forgotten, what is written to files and read back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import clock
from ..bus.client import Client
from ..config.settings import BackgroundConfig
from ..errors import Disconnected, MoveNotAllowed, NoSupervisor, Temporary
from ..failpoints import failpoint
from ..model.task import Task
from ..store import export_format
from ..store.events import EventLog
from ..store.groups import publish_all
from ..store.importer import Loaded, Restoring
from ..store.processes import ProcessTable
from ..store.queue import Queue
from ..store.retention import STEP, Pruned, Pruning
from ..store.sqlite.database import Database, Row
from ..store.tasks import task_of, whole_rows
from .waiting import wait_until_gone

#: Seconds that a flusher may take to tell all that waits; one that was stopped is not waited for longer.
SILENCE = 30.0

#: Tasks read at a time.
PAGE = 100
#: How often `clear` cancels what was launched meanwhile.
ROUNDS = 20


@dataclass(frozen=True)
class Cleared:
    """How much was forgotten."""

    tasks: int
    events: int


class Archive:
    """The whole of a home's tasks and events."""

    def __init__(self, database: Database, config: BackgroundConfig) -> None:
        """Work on this database."""
        self.database = database
        self.home = database.home
        self.config = config
        self._queue = Queue(database, config)
        self._log = EventLog(database)

    # forgetting

    def prune(self) -> Pruned:
        """Forget what was told and is older than `retention_days`. Raises Temporary."""
        round_ = Pruning(self.database, self.config, clock.now())
        for _ in round_.steps():
            continue
        return round_.done

    def clear(self, told: Callable[[], object] = lambda: None) -> Cleared:
        """Tell those connected what waits, cancel everything, forget all tasks, events and cursors.

        `told` is called when everything was sent and nothing is deleted yet. Numbers go on from where they
        are; a supervisor stays. Raises Temporary.
        """
        for _ in range(ROUNDS):
            self._flush()
            self._cancel_all()
            self._flush()
            told()
            cleared = self._forget_all()
            if cleared is not None:
                self.home.wake("supervisor")
                return cleared
        raise Temporary(f"Tasks are launched in {self.home.folder} faster than they can be cancelled.")

    def _flush(self) -> None:
        """Form all batches, and have those who are connected told."""
        with Client(self.home, silence=SILENCE) as client:
            try:
                client.call("flush")
            except (NoSupervisor, Disconnected):
                self._form_batches()

    def _form_batches(self) -> None:
        for parent in self._log.unbatched():
            while self._log.form_batch(parent, self.config.notification_max_batch):
                continue

    def _cancel_all(self) -> None:
        while self._cancel_waiting() == STEP:
            continue
        running = [one.id for one in ProcessTable(self.database).running() if self._cancel(one.id)]
        wait_until_gone(self._queue, running)
        publish_all(self.database)

    def _cancel_waiting(self) -> int:
        with self.database.write() as transaction:
            return transaction.run("cancel_waiting", {"now": clock.now(), "limit": STEP})

    def _cancel(self, id: str) -> bool:
        """Whether a task is on its way to its end, be it on somebody else's verdict."""
        try:
            self._queue.cancel(id)
        except MoveNotAllowed:
            return self._queue.get(id).stopping
        return True

    def _forget_all(self) -> Cleared | None:
        """In one transaction; None if there is again something that must be cancelled or told before."""
        with self.database.write() as transaction:
            if transaction.value("has_unsettled_task"):
                return None
            copied = [row["stdin_file"] for row in transaction.all("list_stdin_files")]
            claim = transaction.value("get_last_claim")
            transaction.run("record_cleared_events")
            events = transaction.run("clear_events")
            tasks = transaction.run("clear_tasks")
            transaction.run("clear_cursors")
        self._unlink(copied, claim)
        return Cleared(tasks, events)

    def _unlink(self, copied: Sequence[str], claim: int) -> None:
        """The inputs of the tasks that are forgotten, and what any try up to that claim wrote or read."""
        for name in copied:
            with failpoint("clear.input.unlink"):
                self.home.input(name).unlink(missing_ok=True)
        for folder in ("output", "input"):
            for path in (self.home.folder / folder).iterdir():
                number = path.name.partition(".")[0]
                if number.isdecimal() and int(number) <= claim:
                    with failpoint("clear.output.unlink"):
                        path.unlink(missing_ok=True)

    # writing and reading files

    def export(self, seed: bool = False) -> Iterator[str]:
        """All tasks as one JSON document, in pieces; with `seed` as the seed's background-manager.json.

        What workers hold is published first. Raises HeldByWorker.
        """
        publish_all(self.database)
        if seed:
            return export_format.seed_pieces(self.tasks())
        return export_format.pieces(self._log.id(), (self._whole(row) for row in self._rows()))

    def tasks(self) -> Iterator[Task]:
        """Every task, oldest first."""
        return (task_of(row) for row in self._rows())

    def _rows(self) -> Iterator[Row]:
        after = 0
        while True:
            with self.database.read() as transaction:
                rows = whole_rows(transaction, after, PAGE)
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1]["number"]

    def _whole(self, row: Row) -> dict[str, Any]:
        given = {
            "env": json.loads(row["env"] or "{}"),
            "stdin": row["stdin"],
            "stdinData": self._copied(row["stdin_file"]),
            "leaveChildren": None if row["leave_children"] is None else bool(row["leave_children"]),
            "retries": row["retries"],
            "afterAny": json.loads(row["after_any"]),
        }
        return export_format.whole(task_of(row), given)

    def _copied(self, name: str | None) -> str | None:
        if name is None:
            return None
        try:
            return base64.b64encode(self.home.input(name).read_bytes()).decode()
        except FileNotFoundError:
            return None

    def load(self, document: object) -> Loaded:
        """Add the tasks of a document, ours or the seed's; those whose ids are known here are skipped.

        What was running is `error` (`lost`), what was pending will run. Raises InvalidInput, naming the
        field.
        """
        return Restoring(self.database, self.config).load(document)

    def replace(self, tasks: Iterable[Task]) -> bool:
        """Make these the tasks of the home, in one transaction; False while any runs: then nothing changed.

        What a task was launched with and does not show (its environment, its stdin, what it wrote) stays.
        Nothing is told of it; what waits to be told of the tasks there were is told first. Raises
        InvalidInput.
        """
        for _ in range(ROUNDS):
            self._form_batches()
            done = Restoring(self.database, self.config).replace(tasks)
            if done is not None:
                return done
        raise Temporary(f"Tasks in {self.home.folder} end faster than it can be told of them.")
