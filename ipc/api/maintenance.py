"""Prune, clear, export and import the tasks of a state directory."""

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
from ..model.query import StoredTask
from ..model.task import Task
from ..store import export_format
from ..store.groups import publish_all
from ..store.importer import Importer, Loaded
from ..store.interface import Store
from ..store.queue import Queue
from ..store.retention import STEP, Pruned, Retention
from .waiting import wait_until_gone

#: Seconds that a flusher may take to send all notifications. A stopped flusher sends none.
FLUSH_TIMEOUT = 30.0

#: The number of tasks read at a time.
PAGE = 100
#: The maximum number of tries of a change that other processes can prevent.
MAX_TRIES = 20


@dataclass(frozen=True)
class Cleared:
    """The numbers of deleted tasks and events."""

    tasks: int
    events: int


class Maintenance:
    """Delete, export and import the tasks and events of a store."""

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        self.store = store
        self.home = store.home
        self.config = config
        self._queue = Queue(store, config)

    def prune(self) -> Pruned:
        """Delete ended tasks and acknowledged events older than `retention_days`. Raises Temporary."""
        retention = Retention(self.store, self.config, clock.now())
        for _ in retention.steps():
            continue
        return retention.done

    def clear(self, before_delete: Callable[[], object] = lambda: None) -> Cleared:
        """Cancel all tasks, then delete all tasks, events and cursors.

        The notifications are sent first. `before_delete` is called when they have been sent. Event numbers
        continue, and a supervisor keeps running. Raises Temporary.
        """
        for _ in range(MAX_TRIES):
            self._flush()
            self._cancel_all()
            self._flush()
            before_delete()
            cleared = self._delete_all()
            if cleared is not None:
                self.home.wake("supervisor")
                return cleared
        raise Temporary(f"Tasks are launched in {self.home.folder} faster than they can be cancelled.")

    def _flush(self) -> None:
        """Form all batches, and send them to the connected clients."""
        with Client(self.home, read_timeout=FLUSH_TIMEOUT) as client:
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
        running = [task.id for task in self.store.hosts.running() if self._cancel(task.id)]
        wait_until_gone(self._queue, running)
        publish_all(self.store)

    def _cancel(self, id: str) -> bool:
        """Cancel a task. Return True if this or an earlier verdict is ending it."""
        try:
            self._queue.cancel(id)
        except MoveNotAllowed:
            return self._queue.get(id).stopping
        return True

    def _delete_all(self) -> Cleared | None:
        """Delete everything. Return None if there are new tasks to cancel, or ended tasks to report first."""
        cleared = self.store.maintenance.clear()
        if cleared is None:
            return None
        self._delete_files(cleared.stdin_files, cleared.last_claim)
        return Cleared(cleared.tasks, cleared.events)

    def _delete_files(self, stdin_files: Sequence[str], last_claim: int) -> None:
        """Delete the inputs of the tasks, and the files of all attempts up to a claim."""
        for name in stdin_files:
            with failpoint("clear.input.unlink"):
                self.home.input(name).unlink(missing_ok=True)
        for folder in ("output", "input"):
            for path in (self.home.folder / folder).iterdir():
                claim = path.name.partition(".")[0]
                if claim.isdecimal() and int(claim) <= last_claim:
                    with failpoint("clear.output.unlink"):
                        path.unlink(missing_ok=True)

    def export(self, seed: bool = False) -> Iterator[str]:
        """Return all tasks as one JSON document, in pieces. With `seed`, use the format of background-manager.json.

        Tasks that workers hold are published first. Raises HeldByWorker.
        """
        publish_all(self.store)
        if seed:
            return export_format.seed_pieces(self.tasks())
        return export_format.pieces(self.store.events.id(), map(self._to_export, self._stored()))

    def tasks(self) -> Iterator[Task]:
        """Return every task, oldest first."""
        return (stored.task for stored in self._stored())

    def _stored(self) -> Iterator[StoredTask]:
        after = 0
        while page := self.store.tasks.stored(after, PAGE):
            yield from page
            after = page[-1].columns["number"]

    def _to_export(self, stored: StoredTask) -> dict[str, Any]:
        columns = stored.columns
        inputs = {
            "env": dict.fromkeys(stored.task.env_names),
            "secretEnv": json.loads(columns["secret_env"] or "[]"),
            "agentArgs": json.loads(columns["agent_args"] or "[]"),
            "stdin": columns["stdin"],
            "stdinData": self._stdin_data(columns["stdin_file"]),
            "leaveChildren": None if columns["leave_children"] is None else bool(columns["leave_children"]),
            "retries": columns["retries"],
            "notify": columns["notify"],
            "afterAny": json.loads(columns["after_any"]),
        }
        return export_format.to_export(stored.task, inputs)

    def _stdin_data(self, name: str | None) -> str | None:
        if name is None or self.home.input(name).is_fifo():
            return None
        try:
            return base64.b64encode(self.home.input(name).read_bytes()).decode()
        except (FileNotFoundError, PermissionError):  # a link names a file of the user
            return None

    def load(self, document: object) -> Loaded:
        """Add the tasks of a document in the export or seed format. Tasks with IDs that exist are skipped.

        Running tasks become `error` (`lost`), and pending ones will run. Raises InvalidInput with the field.
        """
        return Importer(self.store, self.config).load(document)

    def replace(self, tasks: Iterable[Task]) -> bool:
        """Replace all tasks in one transaction. Return False, with nothing changed, while a task is running.

        The environment, stdin and output of a task with the same ID are kept. Previous tasks
        that have ended are batched first. The replacement itself adds no event. Raises InvalidInput, Temporary.
        """
        for _ in range(MAX_TRIES):
            self._form_batches()
            done = Importer(self.store, self.config).replace(tasks)
            if done is not None:
                return done
        raise Temporary(f"Tasks in {self.home.folder} end faster than their notifications can be formed.")
