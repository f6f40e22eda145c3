"""The queue in SQLite: each change of a task's status is one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ... import clock
from ...config.limits import Limits
from ...errors import MoveNotAllowed
from ...model.claim import Advance, Assignment, Cancelled, Change, Held, ReadyTask, Settled, Slot, Taken, Verdict
from ...model.fields import LIST
from ...model.task import BRIEF_LIMIT, RESULT_LIMIT, TaskStatus, cut
from . import claims, promotion
from .claims import HELD
from .file.database import Database
from .file.transaction import Row, Transaction
from .launching import Launching, existing_blockers, find_unique_holder, insert_dependencies, is_failure
from .limits import assign_group, load_limits
from .tasks import find_state, known_task, state_of

if TYPE_CHECKING:
    from ...config.settings import BackgroundConfig
    from ...model.claim import Rescued, Settlement, Step
    from ...model.edit import TaskEdit
    from ...model.task import Task
    from ..launch import NewTask
    from ..values import FileUser


class SqliteQueue:
    """See `QueueStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._limits: Limits | None = None
        self._limits_version = -1

    # launching

    def launch(self, tasks: Sequence[NewTask], config: BackgroundConfig) -> Assignment | None:
        with self._database.write() as transaction:
            launching = Launching(transaction, config, lambda: self._current_limits(transaction, config))
            launching.place(tasks)
            for task in tasks:
                launching.accept(task)
            return launching.assign(tasks[0]) if len(tasks) == 1 else None

    def _current_limits(self, transaction: Transaction, config: BackgroundConfig) -> Limits:
        version = transaction.fetch_value("get_limits_version")
        if self._limits is None or version != self._limits_version:
            self._limits, self._limits_version = load_limits(transaction, config), version
        return self._limits

    # running

    def take(self, slot: Slot, owner: int | None, count: int, key: str | None = None) -> list[Taken]:
        """Start the next task of a slot's group, within its limit, and hold up to `count` - 1 tasks that follow.

        The count of running tasks and the claim are one transaction: two workers can never exceed the limit.
        """
        with self._database.write(durable=False) as transaction:
            return claims.take(transaction, slot, owner, count, key)

    def advance(self, step: Step) -> Advance:
        with self._database.write(durable=False) as transaction:
            retried = TaskStatus.PENDING in claims.end(transaction, step.ended, step.owner)
            if step.current is not None and not step.current.current:
                claims.start(transaction, step.current, step.owner)
            if returned := [(task.number, task.claim) for task in step.returned]:
                claims.require(claims.return_held(transaction, returned), len(returned))
            taken = claims.take(transaction, step.slot, step.owner, step.count) if step.count else []
            parked = bool(step.count) and not taken and claims.park(transaction, step.slot, step.owner)
            frees = retried or bool(returned) or promotion.has_finished_dependency(transaction)
        if step.current is not None:
            step.current.current = True
        return Advance(taken, parked, frees)

    def settle(self, settlement: Settlement) -> Settled:
        with self._database.write(durable=False) as transaction:
            status = claims.settle(transaction, settlement)
            return Settled(status, status == TaskStatus.PENDING or promotion.has_finished_dependency(transaction))

    def rescue(self, attempts: Sequence[Rescued]) -> list[str | None]:
        with self._database.write(durable=False) as transaction:
            return [claims.rescue(transaction, attempt) for attempt in attempts]

    def held_by(self, owner: int) -> list[Held]:
        with self._database.read() as transaction:
            return [Held(*row) for row in transaction.iterate("list_held", {"owner": owner})]

    def all_held(self) -> list[Held]:
        with self._database.read() as transaction:
            return [Held(*row) for row in transaction.iterate("list_all_held", {})]

    def record_verdict(self, number: int, claim: int, verdict: Verdict) -> bool:
        with self._database.write(durable=False) as transaction:
            return _write_verdict(transaction, {"number": number, "claim": claim}, verdict)

    def record_pid(self, number: int, claim: int, pid: int | None) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("set_pid", {"number": number, "claim": claim, "pid": pid})

    def record_stale(self, number: int, claim: int, idle_ms: int) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("set_stale", {"number": number, "claim": claim, "idle_ms": idle_ms})

    def record_progress(self, number: int, claim: int, text: str) -> None:
        with self._database.write(durable=False) as transaction:
            transaction.run("record_progress", {"number": number, "claim": claim, "text": cut(text, BRIEF_LIMIT)})

    # changes by users

    def set_progress(self, id: str, text: str) -> Change:

        def change(transaction: Transaction, state: Row) -> None:
            if not transaction.run("set_progress", {"id": id, "text": cut(text, BRIEF_LIMIT)}):
                raise MoveNotAllowed(f"Task {id} is not running ({state['status']}).")

        return self._change(id, change)

    def cancel(self, id: str) -> Change:

        def change(transaction: Transaction, state: Row) -> None:
            if state["status"] == TaskStatus.PENDING:
                transaction.run("cancel_pending", {"number": state["number"], "now": clock.now()})
            elif state["status"] != TaskStatus.RUNNING:
                raise MoveNotAllowed(f"Task {id} has already ended ({state['status']}).")
            elif state["verdict"] != TaskStatus.CANCELLED:
                _record_verdict_or_refuse(transaction, state, Verdict(TaskStatus.CANCELLED))

        return self._change(id, change)

    def cancel_many(self, ids: Sequence[str]) -> Cancelled:
        with self._database.write() as transaction:
            states = {id: find_state(transaction, id) for id in ids}
            known = {id: state for id, state in states.items() if state is not None}
            holders = {state["owner"] for state in known.values() if _request_if_held(transaction, state)}
            cancelled = [id for id, state in known.items() if _cancel(transaction, state)]
        return Cancelled(cancelled, {known[id]["owner"] for id in cancelled} - {None}, holders)

    def cancel_waiting(self, limit: int) -> int:
        with self._database.write() as transaction:
            return transaction.run("cancel_waiting", {"now": clock.now(), "limit": limit})

    def end(self, id: str, verdict: Verdict) -> Change:

        def change(transaction: Transaction, state: Row) -> None:
            if state["status"] != TaskStatus.RUNNING:
                raise MoveNotAllowed(f"Task {id} is not running ({state['status']}).")
            _record_verdict_or_refuse(transaction, state, verdict)

        return self._change(id, change)

    def _change(self, id: str, change: Callable[[Transaction, Row], None]) -> Change:
        with self._database.write() as transaction:
            state = state_of(transaction, id, self._database)
            held = _request_if_held(transaction, state)
            if not held:
                change(transaction, state)
        return Change(state["owner"], held)

    def retry(self, id: str, config: BackgroundConfig) -> None:
        with self._database.write() as transaction:
            state = state_of(transaction, id, self._database)
            if state["status"] not in (TaskStatus.ERROR, TaskStatus.CANCELLED):
                raise MoveNotAllowed(
                    f"Task {id} can be retried after an error or a cancellation, not from {state['status']}."
                )
            task = known_task(transaction, id)
            if find_unique_holder(transaction, task.unique_key) is not None:
                raise MoveNotAllowed(f"Another task holds the unique name {task.unique_key} now.")
            if task.error_kind == "dependency":
                _require_dependencies(transaction, task)
            ended = {"parent": task.parent_session_id, "task": state["number"], "snapshot": json.dumps(task.brief())}
            transaction.run("save_snapshot", ended)
            group = assign_group(transaction, self._current_limits(transaction, config), task.concurrency_key)
            blockers = _restore_dependencies(transaction, state["number"])
            transaction.run("retry_task", {"number": state["number"], "now": clock.now(), "limit_group": group})
            if any(map(is_failure, blockers)):
                promotion.end_blocked(transaction, state["number"])

    def edit(self, id: str, edit: TaskEdit, config: BackgroundConfig) -> Change:
        from .editing import edit_task, editable_columns, edited_columns  # few commands need it

        def change(transaction: Transaction, state: Row) -> None:
            if state["status"] != TaskStatus.PENDING:
                raise MoveNotAllowed(f"Task {id} is not pending ({state['status']}); only a pending task can change.")
            was = editable_columns(transaction, state["number"])
            columns = edited_columns(was, edit, config)
            if columns["key"] != was["key"]:
                limits = self._current_limits(transaction, config)
                columns["limit_group"] = assign_group(transaction, limits, columns["key"])
            edit_task(transaction, columns)

        return self._change(id, change)

    def remove(self, ids: Sequence[str], batch_size: int) -> list[FileUser]:
        from .editing import remove_task

        with self._database.write() as transaction:
            states = {id: state_of(transaction, id, self._database) for id in ids}
            return [remove_task(transaction, id, state, batch_size) for id, state in states.items()]

    # time and dependencies

    def next_due(self) -> int | None:
        with self._database.read() as transaction:
            return promotion.next_due(transaction)

    def promote(self, limit: int) -> set[str]:
        with self._database.write(durable=False) as transaction:
            return promotion.promote(transaction, limit)

    def shift(self, by: int, since: int) -> None:
        with self._database.write() as transaction:
            transaction.run("shift_times", {"by": by, "since": since, "now": clock.now()})

    # parked workers

    def parked(self) -> dict[int, Slot]:
        with self._database.read() as transaction:
            return {row["owner"]: Slot(row["limit_group"], row["slot"]) for row in transaction.fetch_all("list_parked")}

    def unpark(self, owner: int) -> bool:
        with self._database.write(durable=False) as transaction:
            return transaction.run("unpark_worker", {"owner": owner}) == 1

    def assigned(self, owner: int) -> Taken | None:
        with self._database.read() as transaction:
            row = next(transaction.iterate("get_assigned", {"owner": owner}), None)
        if row is None:
            return None
        claim, group, slot, started_at, *task = row
        return Taken(ReadyTask._make(task), claim, Slot(group, slot), started_at)


def _require_dependencies(transaction: Transaction, task: Task) -> None:
    """Raise MoveNotAllowed if a dependency was deleted: it may be the one that failed, so the task must not run."""
    gone = next((id for id in task.after if find_state(transaction, id) is None), None)
    if gone is not None:
        step = f"to launch it without dependencies: backburner launch --like {task.id[3:11]}"
        raise MoveNotAllowed(f"Task {task.id} cannot be retried: its dependency {gone} was deleted; {step}")


def _restore_dependencies(transaction: Transaction, number: int) -> list[dict[str, Any]]:
    """Make an ended task wait for its dependencies again, because they may have been retried. Return those that count.

    The dependencies were deleted when they had ended, or when the task had.
    """
    row = transaction.fetch_one("get_dependencies", {"task": number})
    assert row is not None, "every task has an input"
    after, after_any = LIST.load(row["after"]), LIST.load(row["after_any"])
    blockers = existing_blockers(transaction, after or (), after_any or ())
    transaction.run("delete_dependencies", {"task": number})
    insert_dependencies(transaction, number, blockers)
    return blockers


def _request_if_held(transaction: Transaction, state: Row) -> bool:
    """Request that a task's worker publishes it, and return True, if the worker holds it."""
    if state["ready"] != HELD:
        return False
    return transaction.run("request_held", {"number": state["number"], "now": clock.now()}) == 1


def _cancel(transaction: Transaction, state: Row) -> bool:
    """Cancel a pending task, or record the verdict on a running task. Return True if it is or will be cancelled."""
    if transaction.run("cancel_pending", {"number": state["number"], "now": clock.now()}):
        return True
    if state["status"] != TaskStatus.RUNNING or state["verdict"] not in (None, TaskStatus.PENDING):
        return bool(state["verdict"] == TaskStatus.CANCELLED)
    _record_verdict_or_refuse(transaction, state, Verdict(TaskStatus.CANCELLED))
    return True


def _record_verdict_or_refuse(transaction: Transaction, state: Row, verdict: Verdict) -> None:
    """Record a verdict. An external task has no process tree to end, so it is settled at once."""
    if not _write_verdict(transaction, {"number": state["number"], "claim": state["claim"]}, verdict):
        raise MoveNotAllowed(f"The task is already being ended ({state['verdict']}).")
    if state["agent"] == "external":
        promotion.settle_external(transaction, state["number"], state["claim"], verdict)


def _write_verdict(transaction: Transaction, attempt: dict[str, int], verdict: Verdict) -> bool:
    text = cut(verdict.text, RESULT_LIMIT)
    brief = claims.brief(text) if verdict.status is TaskStatus.COMPLETED else None
    values = {"text": text, "kind": verdict.kind, "brief": brief, "truncated": text != verdict.text}
    return transaction.run("write_verdict", {**attempt, "verdict": verdict.status, **values}) == 1
