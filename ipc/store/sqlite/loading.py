"""Write saved tasks into SQLite: the steps of one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import InvalidInput
from ...model.task import Task, TaskStatus
from .file.transaction import Row, Transaction, Values
from .launching import existing_blockers, find_unique_holder, insert_dependencies, insert_input
from .limits import assign_group, load_limits
from .tasks import find_state, stored_tasks

if TYPE_CHECKING:
    from ...config.settings import BackgroundConfig
    from ...model.query import StoredTask
    from ..export_format import SavedTask


class TaskLoader:
    """Writes saved tasks in one transaction."""

    def __init__(self, transaction: Transaction, config: BackgroundConfig) -> None:
        self._transaction = transaction
        self._limits = load_limits(transaction, config)

    def add(self, tasks: Sequence[SavedTask]) -> int:
        """Insert the tasks that have new IDs, and return their number."""
        new = [task for task in tasks if find_state(self._transaction, task.id) is None]
        for task in new:
            self._insert(task)
        return len(new)

    def replace(self, tasks: Mapping[str, Task], saved: Iterable[SavedTask]) -> None:
        """Replace all tasks with the given ones. Rows of tasks that have not changed are kept."""
        new = {task.id: task for task in saved}
        known = {stored.task.id: stored for stored in stored_tasks(self._transaction, 0, None)}
        unchanged = {id for id, stored in known.items() if id in tasks and _stored(stored.task) == _stored(tasks[id])}
        deleted = [stored for id, stored in known.items() if id not in unchanged]
        outputs = {stored.task.id: self._outputs(stored) for stored in deleted if stored.task.id in new}
        for stored in deleted:
            self._transaction.run("delete_task", {"number": stored.columns["number"]})
        for task in sorted(new.values(), key=lambda task: _launch_order(known.get(task.id))):
            if task.id not in unchanged:
                number = self._insert(_with_kept_columns(task, known.get(task.id)))
                self._restore_outputs(number, outputs.get(task.id, []))
        self._transaction.run("resolve_dependencies")

    def _outputs(self, task: StoredTask) -> list[Row]:
        return self._transaction.fetch_all("list_outputs", {"task": task.columns["number"]})

    def _restore_outputs(self, number: int, outputs: Iterable[Row]) -> None:
        for output in outputs:
            self._transaction.run("restore_output", {**dict(output), "task": number})

    def _insert(self, task: SavedTask) -> int:
        pending = task.row["status"] is TaskStatus.PENDING
        if pending:
            self._refuse_held_name(task)
        blockers = existing_blockers(self._transaction, task.after, task.after_any) if pending else []
        group = assign_group(self._transaction, self._limits, task.row["key"])
        ready = pending and task.row["not_before"] is None and not blockers
        row = {"claim": None, **task.row, "limit_group": group, "ready": ready}
        number = self._transaction.insert("insert_saved", row)
        insert_input(self._transaction, number, task.input)
        insert_dependencies(self._transaction, number, blockers)
        return number

    def _refuse_held_name(self, task: SavedTask) -> None:
        holder = find_unique_holder(self._transaction, task.row["unique_key"])
        if holder is not None:
            field = f"{task.name}.uniqueKey"
            raise InvalidInput(f"{field}: {task.row['unique_key']} is held by {holder}.", field=field)


def _launch_order(known: StoredTask | None) -> float:
    """Return a sort key that orders tasks by launch, so that a task comes after its blockers."""
    return float("inf") if known is None else float(known.columns["number"])


def _stored(task: Task) -> Task:
    """Return the task without the fields that are not stored, or that only a running task has."""
    return replace(task, waiting_for=None, stopping=False, pid=None, slot=None)


#: The columns of a task's input that `Task` lacks.
_KEPT_INPUTS = ("env", "launcher_env", "secret_env", "agent_args", "stdin", "stdin_file", "leave_children")


def _with_kept_columns(task: SavedTask, known: StoredTask | None) -> SavedTask:
    """Return the task with the columns of its former row that `Task` lacks."""
    if known is None:
        return task
    columns: Values = known.columns
    row = {name: columns[name] for name in ("number", "claim", "retries", "notify")}
    input = {name: columns[name] for name in _KEPT_INPUTS}
    after_any = tuple(json.loads(columns["after_any"]))
    return replace(task, row={**task.row, **row}, input={**task.input, **input}, after_any=after_any)
