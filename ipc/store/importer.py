"""Writing saved tasks back into the database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ..config.limits import Limits
from ..config.settings import BackgroundConfig
from ..errors import InvalidInput
from ..model.task import Task, TaskStatus
from . import export_format
from .export_format import Saved
from .groups import assign, load_limits
from .queue import blockers_of, depend, holder_of_unique, keep_input
from .sqlite.database import Database, Row, Transaction
from .tasks import find_state, task_of, whole_rows

#: Tasks that one transaction adds at most.
STEP = 200


@dataclass(frozen=True)
class Loaded:
    """How many tasks were added, and how many were there already."""

    added: int
    skipped: int


class Restoring:
    """Tasks that come from elsewhere than from a launch."""

    def __init__(self, database: Database, config: BackgroundConfig) -> None:
        """Write into this database."""
        self.database = database
        self.home = database.home
        self._config = config

    def load(self, document: object) -> Loaded:
        """Add the tasks of a document whose ids are not known here. Raises InvalidInput."""
        tasks = export_format.read(document, str(self.home.folder.parent))
        rest = iter(tasks)
        added = 0
        while part := list(islice(rest, STEP)):
            added += self._add(part)
        self.home.wake("supervisor")
        return Loaded(added, len(tasks) - added)

    def _add(self, tasks: Sequence[Saved]) -> int:
        copies = {task.id: self._copy(task.stdin_data) for task in tasks if task.stdin_data is not None}
        with self.database.write() as transaction:
            limits = load_limits(transaction, self._config)
            new = [task for task in tasks if find_state(transaction, task.id) is None]
            for task in new:
                task.input["stdin_file"] = copies.get(task.id)
                _insert(transaction, task, limits)
        return len(new)

    def _copy(self, data: bytes) -> str:
        name = uuid.uuid4().hex
        path = self.home.input(name)
        path.touch(0o600)
        path.write_bytes(data)
        return name

    def replace(self, tasks: Iterable[Task]) -> bool | None:
        """Make these the tasks of the home. False while any runs, None while something is to be told.

        Raises InvalidInput.
        """
        given = {task.id: task for task in tasks}
        wanted = {id: export_format.saved(task) for id, task in given.items()}
        with self.database.write() as transaction:
            if transaction.value("has_running_task"):
                return False
            if transaction.value("has_unbatched_end"):
                return None
            limits = load_limits(transaction, self._config)
            _Replacement(transaction, given).put(wanted, limits)
        self.home.wake("supervisor")
        return True


class _Replacement:
    """One exchange of all tasks; what stays as it is is not touched."""

    def __init__(self, transaction: Transaction, given: Mapping[str, Task]) -> None:
        self._transaction = transaction
        self._known = {row["id"]: row for row in whole_rows(transaction, 0, None)}
        self._same = {id for id, row in self._known.items() if _is_as_given(row, given.get(id))}

    def put(self, wanted: Mapping[str, Saved], limits: Limits) -> None:
        gone = [row for id, row in self._known.items() if id not in self._same]
        outputs = {row["id"]: self._outputs(row) for row in gone if row["id"] in wanted}
        for row in gone:
            self._transaction.run("delete_task", {"number": row["number"]})
        for task in sorted(wanted.values(), key=self._place):
            if task.id not in self._same:
                number = _insert(self._transaction, _carried(task, self._known.get(task.id)), limits)
                self._put_back(number, outputs.get(task.id, []))
        self._transaction.run("resolve_dependencies")

    def _place(self, task: Saved) -> float:
        """In the order in which they were launched: what another one waits for comes before it."""
        known = self._known.get(task.id)
        return float("inf") if known is None else known["number"]

    def _outputs(self, row: Row) -> list[Row]:
        return self._transaction.all("list_outputs", {"task": row["number"]})

    def _put_back(self, number: int, outputs: Iterable[Row]) -> None:
        for output in outputs:
            self._transaction.run("restore_output", {**dict(output), "task": number})


def _is_as_given(row: Row, given: Task | None) -> bool:
    return given is not None and _lasting(task_of(row)) == _lasting(given)


def _lasting(task: Task) -> Task:
    """Without what is only true of the moment."""
    return replace(task, waiting_for=None, stopping=False, pid=None, slot=None)


def _carried(task: Saved, known: Row | None) -> Saved:
    """With what its predecessor has and a Task does not show."""
    if known is None:
        return task
    row = {name: known[name] for name in ("number", "claim", "retries")}
    given = {name: known[name] for name in ("env", "stdin", "stdin_file", "leave_children")}
    after_any = tuple(json.loads(known["after_any"]))
    return replace(task, row={**task.row, **row}, input={**task.input, **given}, after_any=after_any)


def _insert(transaction: Transaction, task: Saved, limits: Limits) -> int:
    pending = task.row["status"] is TaskStatus.PENDING
    if pending:
        _refuse_held_name(transaction, task)
    blockers = _blockers(transaction, task) if pending else []
    row = {
        "claim": None,
        **task.row,
        "limit_group": assign(transaction, limits, task.row["key"]),
        "ready": pending and task.row["not_before"] is None and not blockers,
    }
    number = transaction.insert("insert_saved", row)
    keep_input(transaction, number, task.input)
    depend(transaction, number, blockers)
    return number


def _refuse_held_name(transaction: Transaction, task: Saved) -> None:
    holder = holder_of_unique(transaction, task.row["unique_key"])
    if holder is not None:
        field = f"{task.name}.uniqueKey"
        raise InvalidInput(f"{field}: {task.row['unique_key']} is held by {holder}.", field=field)


def _blockers(transaction: Transaction, task: Saved) -> list[dict[str, Any]]:
    """Those that are still here; one that was pruned before had ended well enough."""
    here = {id for id in (*task.after, *task.after_any) if find_state(transaction, id) is not None}
    any_end = [id for id in task.after_any if id in here]
    return blockers_of(transaction, [id for id in task.after if id in here and id not in any_end], any_end)
