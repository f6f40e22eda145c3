"""Import saved tasks."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ..config.settings import BackgroundConfig
from ..model.task import Task
from . import export_format
from .export_format import SavedTask

if TYPE_CHECKING:
    from .interface import Store

#: The maximum number of tasks that one transaction adds.
STEP = 200


@dataclass(frozen=True)
class Loaded:
    """The number of tasks that were added, and of tasks that were skipped because their IDs exist."""

    added: int
    skipped: int


class Importer:
    """Adds tasks that were launched elsewhere to a store."""

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        self._store = store
        self._home = store.home
        self._config = config

    def load(self, document: object) -> Loaded:
        """Add those tasks of a document that have new IDs. Raises InvalidInput."""
        tasks = export_format.read(document, str(self._home.folder.parent))
        rest = iter(tasks)
        added = 0
        while part := list(islice(rest, STEP)):
            added += self._add(part)
        self._home.wake("supervisor")
        return Loaded(added, len(tasks) - added)

    def _add(self, tasks: Sequence[SavedTask]) -> int:
        for task in tasks:
            if task.stdin_data is not None:
                task.input["stdin_file"] = self._store_input(task.stdin_data)
        return self._store.maintenance.add(tasks, self._config)

    def _store_input(self, data: bytes) -> str:
        name = uuid.uuid4().hex
        path = self._home.input(name)
        path.touch(0o600)
        path.write_bytes(data)
        return name

    def replace(self, tasks: Iterable[Task]) -> bool | None:
        """Replace all tasks of the home, and return True.

        Return False while a task is running, and None while an ended task is in no batch yet. Raises InvalidInput.
        """
        by_id = {task.id: task for task in tasks}
        saved = [export_format.from_task(task) for task in by_id.values()]
        done = self._store.maintenance.replace(by_id, saved, self._config)
        if done:
            self._home.wake("supervisor")
        return done
