"""Change pending tasks and delete ended tasks in SQLite: the steps of one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ... import clock
from ...errors import MoveNotAllowed
from ...model.fields import LIST
from ...model.task import TaskStatus
from ..values import FileUser
from .events import form_batch
from .file.transaction import Row, Transaction, Values
from .tasks import columns_of

if TYPE_CHECKING:
    from ...config.settings import BackgroundConfig
    from ...model.edit import TaskEdit


def edited_columns(task: Values, edit: TaskEdit, config: BackgroundConfig) -> dict[str, Any]:
    """Return the columns of a pending task after an edit, except its group."""
    given: dict[str, Any] = {
        "priority": edit.priority,
        "key": edit.concurrency_key,
        "timeout_ms": edit.timeout_ms,
        **_times(task, edit, config),
        **_attempts(task, edit),
    }
    columns = {**task, **{name: value for name, value in given.items() if value is not None}}
    if edit.description is not None:
        columns["description"] = edit.description or None
    if edit.tags is not None:
        columns["tags"] = LIST.dump(tuple(edit.tags))
    if edit.delay_ms == 0:
        columns["not_before"] = None
    return {**columns, "timeout_ms": columns["timeout_ms"] or None, "edited": json.dumps(edit.fields)}


def _attempts(task: Values, edit: TaskEdit) -> dict[str, int]:
    """Return the columns for new retries. The next attempt is always allowed."""
    if edit.retries is None:
        return {}
    most = task["max_attempts"] - task["retries"] + edit.retries
    return {"retries": edit.retries, "max_attempts": max(most, task["attempt"] + 1)}


def _times(task: Values, edit: TaskEdit, config: BackgroundConfig) -> dict[str, int]:
    """Return the columns for a new delay, which begins now."""
    if edit.delay_ms is None:
        return {}
    start = clock.now() + edit.delay_ms
    expires = None if task["expires_at"] is None else start + round(config.max_queue_wait_s * 1000)
    times = [time for time in (start if edit.delay_ms else None, expires) if time is not None]
    return {
        "not_before": start,
        "ready": int(not edit.delay_ms and not task["blocked"]),
        **({} if expires is None else {"expires_at": expires}),
        "due_at": min(times, default=0),
    }


def edit_task(transaction: Transaction, columns: Values) -> None:
    """Write the columns of an edited task. A time of 0 means that nothing is due."""
    transaction.run("edit_task", {**columns, "due_at": columns["due_at"] or None})


def editable_columns(transaction: Transaction, number: int) -> Values:
    """Return the columns of a task that an edit may change, and `blocked` if it waits for other tasks."""
    row = transaction.fetch_one("get_editable", {"number": number})
    assert row is not None, "the transaction has read its state"
    return columns_of(row)


def remove_task(transaction: Transaction, id: str, state: Row, batch_size: int) -> FileUser:
    """Delete an ended task, and return its files. Its end is put into a batch first. Raises MoveNotAllowed."""
    if not TaskStatus(state["status"]).ended:
        raise MoveNotAllowed(f"Task {id} has not ended ({state['status']}); to cancel it: backburner cancel {id[3:11]}")
    row = transaction.fetch_one("get_file_user", {"number": state["number"]})
    assert row is not None, "the transaction has read its state"
    while row["waits_for_batch"] and form_batch(transaction, row["parent"], batch_size):
        row = transaction.fetch_one("get_file_user", {"number": state["number"]})
        assert row is not None, "a batch deletes no task"
    transaction.run("delete_task", {"number": state["number"]})
    return FileUser(row["number"], row["claim"], row["stdin_file"], row["completed_at"])
