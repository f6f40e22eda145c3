"""Claim tasks, settle attempts and park workers in SQLite: the steps of one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import takewhile
from typing import Any

from ... import clock
from ...model.claim import Assignment, Ended, ReadyTask, Rescued, Settlement, Slot, Taken
from ...model.task import BRIEF_LIMIT, RESULT_LIMIT, TaskStatus, cut
from .file.transaction import Transaction, Values

#: The value of `ready` of a task that a worker holds.
HELD = 2


def take(transaction: Transaction, slot: Slot, owner: int | None, count: int, key: str | None = None) -> list[Taken]:
    """Start the next task of the slot's group, and hold up to `count` - 1 tasks that follow it.

    Return the tasks in order, or an empty list if no task is ready or the slot may not be used now. External tasks have
    no worker: they are started only if `owner` is None, and other tasks only for a worker. All returned tasks have the
    same agent.
    """
    allowed = transaction.fetch_one("check_slot", {"limit_group": slot.group, "slot": slot.number})
    if allowed is None:
        return []
    if count > 1:
        count = 1 if allowed["single"] else _fair_share(transaction, slot.group, count, allowed["limit"])
    tasks = _next_tasks(transaction, {"limit_group": slot.group, "key": key, "limit": count})
    if not tasks or (tasks[0].agent == "external") != (owner is None):
        return []
    claim = next_claim(transaction, len(tasks))
    first, *others = tasks
    taken = [Taken(first, claim, slot, clock.now())]
    taken += [Taken(task, claim + offset, slot, None) for offset, task in enumerate(others, 1)]
    start(transaction, taken[0], owner)
    if others:
        held = [{"owner": owner, "claim": task.claim, "number": task.number} for task in taken[1:]]
        require(transaction.run_many("hold_task", held), len(held))
    return taken


def next_claim(transaction: Transaction, count: int = 1) -> int:
    """Reserve `count` claim numbers that were never used before, and return the first."""
    last: int = transaction.fetch_value("take_claims", {"count": count})
    return last - count + 1


def _fair_share(transaction: Transaction, group: str, count: int, limit: int) -> int:
    """Return `count`, or less to leave half of the ready tasks to the group's other slots."""
    if limit == 1:
        return count
    ready: int = transaction.fetch_value("count_ready_up_to", {"limit_group": group, "limit": 2 * count})
    return max(1, min(count, ready // 2))


def _next_tasks(transaction: Transaction, which: Values) -> list[ReadyTask]:
    """Return the next task, and the tasks behind it that the same worker may hold."""
    with closing(transaction.iterate("list_ready", which)) as rows:
        tasks = map(ReadyTask._make, rows)
        first = next(tasks, None)
        if first is None or not first.is_plain:
            return [] if first is None else [first]
        return [first, *takewhile(first.may_precede, tasks)]


def start(transaction: Transaction, taken: Taken, owner: int | None) -> None:
    """Make a taken task the running task of its slot. The caller sets `taken.current` after the commit."""
    values = {
        "number": taken.number,
        "claim": taken.claim,
        "held": None if taken.current else taken.claim,
        "slot": taken.slot.number,
        "owner": owner,
        "started_at": taken.started_at,
    }
    require(transaction.run("start_task", values), 1)


def end(transaction: Transaction, ended: Sequence[Ended], owner: int | None) -> list[str | None]:
    """Settle attempts in order, and return the new statuses of their tasks."""
    statuses: list[str | None] = []
    completed: list[Ended] = []
    for attempt in ended:
        if _is_held_and_completed(attempt):
            completed.append(attempt)
            statuses.append(TaskStatus.COMPLETED)
            continue
        _complete_held(transaction, completed)
        completed = []
        if not attempt.taken.current:
            attempt.taken.started_at = attempt.started_at
            start(transaction, attempt.taken, owner)
        statuses.append(settle(transaction, attempt.settlement))
    _complete_held(transaction, completed)
    return statuses


def _is_held_and_completed(attempt: Ended) -> bool:
    settlement = attempt.settlement
    return not attempt.taken.current and settlement.status is TaskStatus.COMPLETED and not settlement.leftovers


def _complete_held(transaction: Transaction, completed: Sequence[Ended]) -> None:
    if not completed:
        return
    require(transaction.run_many("end_held", [_end_values(attempt) for attempt in completed]), len(completed))
    for attempt in completed:
        _keep_outputs(transaction, attempt.settlement)


def _end_values(attempt: Ended) -> dict[str, object]:
    settlement = attempt.settlement
    result = cut(settlement.result, RESULT_LIMIT)
    return {
        "number": settlement.number,
        "claim": settlement.claim,
        "started_at": attempt.started_at,
        "ended_at": settlement.ended_at or clock.now(),
        "result": result,
        "result_truncated": int(result != settlement.result),
        "brief": brief(result),
        "exit_code": settlement.exit_code,
    }


def settle(transaction: Transaction, settlement: Settlement) -> str | None:
    """End a running attempt. Return the status of its task, or None if the claim is no longer in force."""
    result = cut(settlement.result, RESULT_LIMIT)
    row = transaction.fetch_one(
        "settle_task",
        {
            "number": settlement.number,
            "claim": settlement.claim,
            "status": settlement.status,
            "result": result,
            "result_truncated": result != settlement.result,
            "brief": brief(result),
            "error": cut(settlement.error, RESULT_LIMIT),
            "error_kind": settlement.error_kind,
            "exit_code": settlement.exit_code,
            "signal": settlement.signal,
            "leftovers": settlement.leftovers,
            "session": cut(settlement.session, BRIEF_LIMIT),
            "not_before": settlement.not_before,
            "unused": settlement.unused,
            "ended_at": settlement.ended_at or clock.now(),
        },
    )
    if row is None:
        return None
    _keep_outputs(transaction, settlement)
    return str(row["status"])


def rescue(transaction: Transaction, attempt: Rescued) -> str | None:
    """Settle an attempt of a dead worker. Return the status of its task, or None if its claim is not in force."""
    if attempt.group is None:
        return None if attempt.settlement is None else settle(transaction, attempt.settlement)
    if attempt.settlement is None:
        return TaskStatus.PENDING if return_held(transaction, [(attempt.number, attempt.claim)]) else None
    values = {"number": attempt.number, "claim": attempt.claim, "held": attempt.claim, "owner": None}
    values |= {"slot": find_free_slot(transaction, attempt.group), "started_at": attempt.started_at}
    return settle(transaction, attempt.settlement) if transaction.run("start_task", values) else None


def find_free_slot(transaction: Transaction, group: str) -> int:
    """Return the lowest slot of a group that no running task has."""
    slot: int = transaction.fetch_value("find_free_slot", {"limit_group": group})
    return slot


def return_held(transaction: Transaction, held: Iterable[tuple[int, int]]) -> int:
    """Move tasks, given as (number, claim), back to the queue. Return the number of tasks that were held."""
    return transaction.run_many("return_held_task", [{"number": number, "claim": claim} for number, claim in held])


def brief(result: str | None) -> str | None:
    """Return the shortened result that events show, or None if the result is short."""
    short = cut(result, BRIEF_LIMIT)
    return None if short == result else short


def _keep_outputs(transaction: Transaction, settlement: Settlement) -> None:
    for stream, data in settlement.outputs:
        values = {"claim": settlement.claim, "stream": stream, "task": settlement.number, "data": data}
        transaction.run("insert_output", values)


def require(changed: int, expected: int) -> None:
    """Raise AssertionError if another process has changed a held task, which the schema forbids."""
    if changed != expected:
        raise AssertionError(f"{changed} instead of {expected} held tasks were changed")


def park(transaction: Transaction, slot: Slot, owner: int) -> bool:
    """Park a worker in its slot. Return False if the slot may not be used now or a task of the group is ready."""
    return transaction.run("park_worker", {"owner": owner, "limit_group": slot.group, "slot": slot.number}) == 1


def assign(transaction: Transaction, number: int, launched: Mapping[str, Any]) -> Assignment | None:
    """Claim a new task for a parked worker of its group. Return None if there is none, or another task is next.

    `launched` has the columns of the task and of its input.
    """
    if not launched["ready"] or launched["agent"] == "external":
        return None
    row = transaction.fetch_one("take_parked", {"limit_group": launched["limit_group"], "number": number})
    if row is None:
        return None
    values = {**launched, "number": number, "attempt": 1, "interruptions": 0}
    task = ReadyTask._make(values[name] for name in ReadyTask._fields)
    taken = Taken(task, next_claim(transaction), Slot(launched["limit_group"], row["slot"]), clock.now())
    start(transaction, taken, row["owner"])
    return Assignment(row["owner"], taken)
