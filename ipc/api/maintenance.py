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
from ..store.groups import publish_all
from ..store.importer import Importer, Loaded
from ..store.interface import Store
from ..store.queue import Queue
from ..store.retention import STEP, Pruned, Retention
from ..store.values import StoredTask
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

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        """Work on this store."""
        self.store = store
        self.home = store.home
        self.config = config
        self._queue = Queue(store, config)

    # forgetting

    def prune(self) -> Pruned:
        """Forget what was told and is older than `retention_days`. Raises Temporary."""
        round_ = Retention(self.store, self.config, clock.now())
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
        for parent in self.store.events.unbatched():
            while self.store.events.form_batch(parent, self.config.notification_max_batch):
                continue

    def _cancel_all(self) -> None:
        while self.store.queue.cancel_waiting(STEP) == STEP:
            continue
        running = [one.id for one in self.store.hosts.running() if self._cancel(one.id)]
        wait_until_gone(self._queue, running)
        publish_all(self.store)

    def _cancel(self, id: str) -> bool:
        """Whether a task is on its way to its end, be it on somebody else's verdict."""
        try:
            self._queue.cancel(id)
        except MoveNotAllowed:
            return self._queue.get(id).stopping
        return True

    def _forget_all(self) -> Cleared | None:
        """Delete everything; None if there is again something to cancel or to deliver first."""
        cleared = self.store.maintenance.clear()
        if cleared is None:
            return None
        self._unlink(cleared.stdin_files, cleared.last_claim)
        return Cleared(cleared.tasks, cleared.events)

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
        publish_all(self.store)
        if seed:
            return export_format.seed_pieces(self.tasks())
        return export_format.pieces(self.store.events.id(), map(self._whole, self._stored()))

    def tasks(self) -> Iterator[Task]:
        """Every task, oldest first."""
        return (one.task for one in self._stored())

    def _stored(self) -> Iterator[StoredTask]:
        after = 0
        while found := self.store.tasks.stored(after, PAGE):
            yield from found
            after = found[-1].columns["number"]

    def _whole(self, stored: StoredTask) -> dict[str, Any]:
        columns = stored.columns
        given = {
            "env": json.loads(columns["env"] or "{}"),
            "stdin": columns["stdin"],
            "stdinData": self._copied(columns["stdin_file"]),
            "leaveChildren": None if columns["leave_children"] is None else bool(columns["leave_children"]),
            "retries": columns["retries"],
            "afterAny": json.loads(columns["after_any"]),
        }
        return export_format.whole(stored.task, given)

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
        return Importer(self.store, self.config).load(document)

    def replace(self, tasks: Iterable[Task]) -> bool:
        """Make these the tasks of the home, in one transaction; False while any runs: then nothing changed.

        What a task was launched with and does not show (its environment, its stdin, what it wrote) stays.
        Nothing is told of it; what waits to be told of the tasks there were is told first. Raises
        InvalidInput.
        """
        for _ in range(ROUNDS):
            self._form_batches()
            done = Importer(self.store, self.config).replace(tasks)
            if done is not None:
                return done
        raise Temporary(f"Tasks in {self.home.folder} end faster than it can be told of them.")
