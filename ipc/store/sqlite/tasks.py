"""Read tasks from SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...errors import NotFound
from ...model.fields import LIST, OBJECT
from ...model.query import Filter, StoredTask, TaskRows, TaskState
from ...model.task import Task, TaskStatus
from ..tasks import waiting_for
from .file.database import Database
from .file.transaction import Row, Transaction, Values


class SqliteTasks:
    """See `TaskStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, id: str) -> Task | None:
        with self._database.read() as transaction:
            row = transaction.fetch_one("get_task", {"id": id})
        return None if row is None else task_of(row)

    def page(self, which: Filter, before: int, limit: int) -> TaskRows:
        values: Values = {
            "status": which.status,
            "parent": which.parent,
            "model": which.model,
            "tags": json.dumps(which.tags) if which.tags else None,
            # Compared first, as text: json_each takes microseconds a task. The longest tag is probably the rarest.
            "rarest_tag": json.dumps(max(which.tags, key=len, default=None)),
            "before": before,
            "limit": limit,
        }
        with self._database.read() as transaction:
            rows, fit = transaction.fetch_some(_list_statement(which), values, which.room)
        return TaskRows([task_of(row) for row in rows], rows[-1]["number"] if rows else before, not fit)

    def with_inputs(self, tasks: Sequence[Task]) -> list[Task]:
        ids = json.dumps([task.id for task in tasks])
        with self._database.read() as transaction:
            rows = {row["id"]: row for row in transaction.fetch_all("list_prompts", {"ids": ids})}
        return [_with_input(task, rows[task.id]) if task.id in rows else task for task in tasks]

    def stored(self, after: int, limit: int) -> list[StoredTask]:
        with self._database.read() as transaction:
            return stored_tasks(transaction, after, limit)

    def find(self, prefix: str) -> list[str]:
        name, values = _search(prefix)
        with self._database.read() as transaction:
            return [row["id"] for row in transaction.fetch_all(name, values)]

    def state(self, id: str) -> TaskState | None:
        with self._database.read() as transaction:
            row = find_state(transaction, id)
        if row is None:
            return None
        return TaskState(row["number"], TaskStatus(row["status"]), row["claim"], row["verdict"], row["progress"])

    def unfinished(self, parent: str | None) -> list[str]:
        with self._database.read() as transaction:
            return [row["id"] for row in transaction.fetch_all("list_unfinished_ids", {"parent": parent})]

    def unfinished_of(self, ids: Sequence[str]) -> list[str]:
        with self._database.read() as transaction:
            states = {id: state_of(transaction, id, self._database)["status"] for id in ids}
        return [id for id, status in states.items() if not TaskStatus(status).ended]

    def output(self, claim: int, stream: str, offset: int, limit: int) -> tuple[bytes, int] | None:
        values = {"claim": claim, "stream": stream, "offset": offset, "limit": limit}
        with self._database.read() as transaction:
            row = transaction.fetch_one("get_output", values)
        return None if row is None else (row["data"], row["size"])

    def slot_deadlocks(self, ids: Sequence[str], mine: str) -> dict[str, str]:
        with self._database.read() as transaction:
            groups = {id: transaction.fetch_value("find_slot_deadlock", {"id": id, "mine": mine}) for id in ids}
        return {id: group for id, group in groups.items() if group is not None}


def stored_tasks(transaction: Transaction, after: int, limit: int | None) -> list[StoredTask]:
    """Return the next tasks by number. A limit of None means all tasks."""
    rows = transaction.fetch_all("list_whole_tasks", {"after": after, "limit": -1 if limit is None else limit})
    return [StoredTask(task_of(row), columns_of(row)) for row in rows]


def find_state(transaction: Transaction, id: str) -> Row | None:
    """Return the row of a task's state, or None."""
    return transaction.fetch_one("get_state", {"id": id})


def state_of(transaction: Transaction, id: str, database: Database) -> Row:
    """Return the row of a task's state. Raises NotFound."""
    row = find_state(transaction, id)
    if row is None:
        raise NotFound(f"There is no task {id} in {database.home.folder}.", field="id")
    return row


def known_task(transaction: Transaction, id: str) -> Task:
    """Return a task that is known to exist."""
    row = transaction.fetch_one("get_task", {"id": id})
    assert row is not None, "the transaction has read its state"
    return task_of(row)


def columns_of(row: Row) -> Values:
    """Return a row's values by name. A lookup in the row itself would search its columns each time."""
    return dict(zip(row.keys(), row, strict=True))


def task_of(row: Row) -> Task:
    """Return the task in a row of the view `task_rows`."""
    columns = columns_of(row)
    return Task.of_columns(columns, waiting_for(columns))


def _list_statement(which: Filter) -> str:
    if which.parent is not None:
        return "list_tasks_of_parent"
    if which.status in (TaskStatus.PENDING, TaskStatus.RUNNING):
        return "list_unfinished_tasks"
    if which.status in (TaskStatus.ERROR, TaskStatus.CANCELLED):
        return "list_failed_tasks"
    return "list_tasks"


def _search(prefix: str) -> tuple[str, dict[str, Any]]:
    if prefix == "-":
        return "get_last_id", {}
    start = prefix if prefix.startswith("bg-") else f"bg-{prefix}"
    return "find_ids", {"from": start, "to": start + "~"}


def _with_input(task: Task, row: Row) -> Task:
    return replace(task, prompt=row["prompt"], args=LIST.load(row["args"]), kwargs=OBJECT.load(row["kwargs"]))


def successor_of(transaction: Transaction, parent: str | None) -> str | None:
    """Return the session that receives a session's launches and notifications."""
    return transaction.fetch_value("get_successor", {"parent": parent}) or parent
