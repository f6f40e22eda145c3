"""Times and dependencies in SQLite: make pending tasks ready, and end those that cannot run."""

from __future__ import annotations

from ... import clock
from ...model.claim import Settlement, Verdict
from ...model.task import TaskStatus
from ...text.durations import format_setting
from .claims import settle
from .file.transaction import Row, Transaction


def has_finished_dependency(transaction: Transaction) -> bool:
    """Return True if a task still waits for a task that has ended."""
    return transaction.fetch_value("has_finished_dependency") is not None


def next_due(transaction: Transaction) -> int | None:
    """Return the next time to call `promote`, in milliseconds since 1970. 0 means now, and None means never."""
    if has_finished_dependency(transaction):
        return 0
    due = transaction.fetch_value("get_next_due")
    return None if due is None else int(due)


def promote(transaction: Transaction, limit: int) -> set[str]:
    """Make due tasks ready, end tasks that have waited too long, and return the groups of these tasks."""
    now = clock.now()
    overdue = transaction.fetch_all("list_due", {"now": now, "limit": limit})
    for row in overdue:
        _promote(transaction, row, now)
    finished = transaction.fetch_all("list_finished_dependencies", {"limit": limit})
    for row in finished:
        _resolve(transaction, row, now)
    return {row["limit_group"] for row in [*overdue, *finished]}


def end_pending(transaction: Transaction, number: int, kind: str, error: str) -> None:
    """End a pending task with an error."""
    transaction.run("end_pending", {"number": number, "kind": kind, "error": error, "now": clock.now()})


def end_blocked(transaction: Transaction, number: int) -> None:
    """End a pending task whose dependency failed or was cancelled, and name that dependency."""
    row = transaction.fetch_one("find_failed_dependency", {"task": number})
    error = "A task that it depends on did not complete."
    if row is not None:
        verb = "was cancelled" if row["status"] == TaskStatus.CANCELLED else "failed"
        error = f"Its dependency {row['id']} {verb}."
    end_pending(transaction, number, "dependency", error)


def settle_external(transaction: Transaction, number: int, claim: int, verdict: Verdict) -> None:
    """Settle an external task by its recorded verdict."""
    settle(transaction, Settlement(number=number, claim=claim, status=verdict.status))


def _promote(transaction: Transaction, row: Row, now: int) -> None:
    if row["status"] == TaskStatus.RUNNING:
        _time_out(transaction, row)
    elif row["expires_at"] is not None and row["expires_at"] <= now:
        end_pending(transaction, row["number"], "expired", "It waited longer than max_queue_wait_s.")
    else:
        transaction.run("make_ready", {"number": row["number"], "ready": not row["blocked"]})


def _time_out(transaction: Transaction, row: Row) -> None:
    """End an external task that has run too long. It has no worker that enforces its timeout."""
    status = TaskStatus.PENDING if row["attempt"] < row["max_attempts"] else TaskStatus.ERROR
    error = f"No verdict within {format_setting(row['timeout_ms'])}."
    attempt = {"number": row["number"], "claim": row["claim"]}
    settle(transaction, Settlement(**attempt, status=status, error=error, error_kind="timeout"))


def _resolve(transaction: Transaction, row: Row, now: int) -> None:
    if row["status"] == TaskStatus.PENDING and row["bad"]:
        end_blocked(transaction, row["number"])
    elif row["status"] == TaskStatus.PENDING and not row["open"] and (row["not_before"] or 0) <= now:
        transaction.run("make_ready", {"number": row["number"], "ready": True})
    ended = row["status"] != TaskStatus.PENDING or bool(row["bad"])
    transaction.run("delete_finished_dependencies", {"task": row["number"], "every": ended})
