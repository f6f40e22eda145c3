"""Read tasks from SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import NotFound
from ...model.fields import LIST, OBJECT
from ...model.query import Filter, StoredTask, TaskRows, TaskState
from ...model.task import Task, TaskStatus, names_in
from ..tasks import waiting_for
from .file.database import Database
from .file.transaction import Row, Transaction, Values

if TYPE_CHECKING:
    from ...model.attempt import AttemptEvent

#: The number of events that one transaction looks through.
EVENTS = 50_000


class SqliteTasks:
    """See `TaskStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, id: str) -> Task | None:
        with self._database.read() as transaction:
            row = transaction.fetch_one("get_task", {"id": id})
        return None if row is None else task_of(row)

    def page(self, which: Filter, before: int, limit: int) -> TaskRows:
        values = {**_values(which), "before": before, "limit": limit}
        with self._database.read() as transaction:
            rows, fit = transaction.fetch_some(_list_statement(which), values, which.room)
        return TaskRows([task_of(row) for row in rows], rows[-1]["number"] if rows else before, not fit)

    def in_order(self, which: Filter, limit: int) -> list[int]:
        ended = {status.ended for status in which.statuses or TaskStatus}
        statements = {False: "list_unfinished_in_order", True: "list_ended_in_order"}
        numbers: list[int] = []
        with self._database.read() as transaction:
            for name in (statements[is_ended] for is_ended in sorted(ended)):
                values = {**_values(which), "limit": limit - len(numbers)}
                numbers += [row["number"] for row in transaction.fetch_all(name, values)]
        return numbers

    def numbered(self, numbers: Sequence[int]) -> list[Task]:
        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_numbered_tasks", {"numbers": json.dumps(numbers)})
        tasks = {row["number"]: task_of(row) for row in rows}
        return [tasks[number] for number in numbers if number in tasks]

    def counts(self, which: Filter) -> dict[TaskStatus, int]:
        with self._database.read() as transaction:
            rows = transaction.fetch_all("count_by_status", _values(which))
        return {TaskStatus(row["status"]): row["tasks"] for row in rows}

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

    def for_people(self, ids: Sequence[str]) -> tuple[set[str], bool]:
        with self._database.read() as transaction:
            rows = transaction.fetch_all("list_tasks_for_person", {"ids": json.dumps([*ids])})
            is_busy = bool(transaction.fetch_value("has_unfinished_without_session"))
        return {row["id"] for row in rows}, is_busy

    def output(self, claim: int, stream: str, offset: int, limit: int) -> tuple[bytes, int] | None:
        values = {"claim": claim, "stream": stream, "offset": offset, "limit": limit}
        with self._database.read() as transaction:
            row = transaction.fetch_one("get_output", values)
        return None if row is None else (row["data"], row["size"])

    def attempt_events(self, id: str) -> list[AttemptEvent]:
        from ...model.attempt import AttemptEvent  # few commands need it

        events: list[AttemptEvent] = []
        after, last = 0, 1
        while after < last:
            values = {"id": id, "after": after, "to": after + EVENTS}
            with self._database.read() as transaction:
                last = transaction.fetch_value("get_last_seq")
                rows = transaction.fetch_all("list_attempt_events", values)
            events += [AttemptEvent(row["type"], row["at"], json.loads(row["body"])) for row in rows]
            after += EVENTS
        return events

    def mean_durations(self, limit: int) -> dict[str, float]:
        with self._database.read() as transaction:
            return {row["key"]: row["mean"] for row in transaction.fetch_all("list_mean_durations", {"limit": limit})}

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


def _values(which: Filter) -> dict[str, Any]:
    """Return the values of the conditions of a filter, for `{matches}`."""
    return {
        "status": which.statuses[0] if which.statuses else None,
        "statuses": json.dumps(which.statuses) if which.statuses else None,
        "parent": which.parent,
        "model": which.model,
        "key": which.key,
        "agent": which.agent,
        "since": which.since,
        "tags": json.dumps(which.tags) if which.tags else None,
        # Compared first, as text: json_each takes microseconds a task. The longest tag is probably the rarest.
        "rarest_tag": json.dumps(max(which.tags, key=len, default=None)),
        "text": None if which.text is None else f"%{_escaped(which.text)}%",
    }


def _escaped(text: str) -> str:
    """Return a text whose characters have no special meaning for LIKE."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _list_statement(which: Filter) -> str:
    statuses = set(which.statuses)
    if which.parent is not None:
        return "list_tasks_of_parent"
    if statuses and not any(status.ended for status in statuses):
        return "list_unfinished_tasks"
    if len(statuses) == 1 and statuses <= {TaskStatus.ERROR, TaskStatus.CANCELLED}:
        return "list_failed_tasks"
    return "list_tasks"


def _search(prefix: str) -> tuple[str, dict[str, Any]]:
    if prefix == "-":
        return "get_last_id", {}
    start = prefix if prefix.startswith("bg-") else f"bg-{prefix}"
    return "find_ids", {"from": start, "to": start + "~"}


def _with_input(task: Task, row: Row) -> Task:
    return replace(
        task,
        prompt=row["prompt"],
        args=LIST.load(row["args"]),
        kwargs=OBJECT.load(row["kwargs"]),
        env_names=names_in(row["launcher_env"], row["env"]),
        env_dropped=LIST.load(row["env_dropped"]) or (),
    )


def successor_of(transaction: Transaction, parent: str | None) -> str | None:
    """Return the session that receives a session's launches and notifications."""
    return transaction.fetch_value("get_successor", {"parent": parent}) or parent
