"""Checks of the invariants I1 to I8 of backburner's contract, on rows, events and deliveries recorded from outside.

An event is a dictionary with `seq`, `type`, `parentSessionId` and the fields of its type; a task is a row of the
database. Each check yields what must not have happened. Imports nothing of backburner.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

STARTED, ENDED, RETRYING = "background_task_started", "background_task_completed", "background_task_retrying"
PROGRESS, STALE = "background_task_progress", "background_task_stale"

#: A batch as it is stored in the event log, and as it is sent to subscribers.
BATCH_STORED, BATCH_SENT = "background_tasks_notification", "background_tasks_batch"

#: The statuses in which a task has ended.
TERMINAL = ("completed", "error", "cancelled")

#: The legal life of a task as its events tell it: the state and the event, and the state after it.
LIFE = {
    ("pending", STARTED): "running",
    ("pending", ENDED): "ended",
    ("running", ENDED): "ended",
    ("running", RETRYING): "pending",
    ("running", PROGRESS): "running",
    ("running", STALE): "running",
}

Facts = Mapping[str, Any]
Tasks = Mapping[str, Facts]


class Violation(Exception):
    """An invariant was broken. A check yields violations; a trial that stops at the first one raises it."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
        self.text = text


class Start(NamedTuple):
    """The start of a task's program, as the program itself recorded it."""

    id: str
    claim: int
    attempt: int


def event_of(row: Any) -> dict[str, Any]:
    """Return an event from its row (`seq`, `type`, `parent`, `body`)."""
    return {"seq": row["seq"], "type": row["type"], "parentSessionId": row["parent"], **json.loads(row["body"])}


def repeated(values: Iterable[Hashable]) -> list[Any]:
    """Return the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def check_accepted(accepted: Iterable[str], tasks: Tasks) -> Iterator[Violation]:
    """I1: every acknowledged launch has its task."""
    for id in sorted(set(accepted) - tasks.keys()):
        yield Violation("I1", f"{id} was accepted and is missing")


def check_lives(events: Iterable[Facts], tasks: Tasks, retried: Collection[str] = ()) -> Iterator[Violation]:
    """I2, I3: the events of each task are a legal life, and its row agrees with the last of them.

    Tasks in `retried` were retried by hand, which has no event: they may start again after they have ended.
    """
    states = dict.fromkeys(tasks, "pending")
    ends: dict[str, str] = {}
    for event in (event for event in events if "taskId" in event):
        id, kind = event["taskId"], event["type"]
        state = states.get(id, "missing")
        if state == "ended" and id in retried and kind in (STARTED, ENDED):
            state = "pending"
        if (state, kind) not in LIFE:
            yield Violation("I2", f"{id} was {state}, then came {kind} (seq {event['seq']})")
        states[id] = LIFE.get((state, kind), state)
        ends |= {id: event["status"]} if kind == ENDED else {}
    for id, task in tasks.items():
        yield from _check_row(id, task, states[id], ends.get(id), id in retried)


def _check_row(id: str, task: Facts, state: str, end: str | None, is_retried: bool) -> Iterator[Violation]:
    has_ended = task["status"] in TERMINAL
    if has_ended != (task["completed_at"] is not None):
        yield Violation("I3", f"{id} is {task['status']}, and its completion time is {task['completed_at']}")
    if has_ended != (state == "ended") and not (is_retried and not has_ended):
        yield Violation("I3", f"{id} is {task['status']}, and by its events it is {state}")
    if has_ended and task["status"] != end:
        yield Violation("I3", f"{id} is {task['status']}, and its last event of an end reports {end}")


def check_starts(starts: Iterable[Start]) -> Iterator[Violation]:
    """I2: no claim and no attempt is started twice."""
    starts = list(starts)
    for claim in repeated(start.claim for start in starts):
        yield Violation("I2", f"claim {claim} was started more than once")
    for id, attempt in repeated((start.id, start.attempt) for start in starts):
        yield Violation("I2", f"attempt {attempt} of {id} was started more than once")


def check_limits(events: Iterable[Facts], tasks: Tasks, limits: Mapping[str, int]) -> Iterator[Violation]:
    """I4: by the events, no more tasks of a group run at once than its limit allows (0: any number)."""
    running: dict[str, set[str]] = defaultdict(set)
    for event in (event for event in events if event.get("taskId") in tasks):
        id = event["taskId"]
        group = tasks[id]["limit_group"]
        if event["type"] == STARTED:
            running[group].add(id)
            if 0 < limits[group] < len(running[group]):
                yield Violation("I4", f"{sorted(running[group])} of {group} ran at once (seq {event['seq']})")
        elif event["type"] in (ENDED, RETRYING):
            running[group].discard(id)


def check_settled(tasks: Tasks) -> Iterator[Violation]:
    """I6: nothing is left running, waiting or held."""
    for id, task in tasks.items():
        if task["status"] not in TERMINAL:
            yield Violation("I6", f"{id} is still {task['status']} (owner {task['owner']})")
        if task.get("held") is not None:  # the schema of older releases has no such column
            yield Violation("I6", f"{id} is still held under claim {task['held']} (owner {task['owner']})")


def check_batches(events: Iterable[Facts], largest: int | None = None) -> Iterator[Violation]:
    """I7: each end of a parent's task is in exactly one batch of that parent, and each batch counts its tasks."""
    ended: Counter[tuple[str, str]] = Counter()
    batched: Counter[tuple[str, str]] = Counter()
    for event in events:
        parent = event["parentSessionId"]
        if event["type"] == ENDED and parent is not None:
            ended[parent, event["taskId"]] += 1
        elif event["type"] == BATCH_STORED:
            batched.update((parent, id) for id in event["taskIds"])
            yield from _check_batch(event, largest)
    for parent, id in ended | batched:
        if ended[parent, id] != batched[parent, id]:
            text = f"{id} ended {ended[parent, id]} times and is in {batched[parent, id]} batches of {parent}"
            yield Violation("I7", text)


def _check_batch(event: Facts, largest: int | None) -> Iterator[Violation]:
    size = len(event["taskIds"])
    if size != event["count"] or (largest is not None and size > largest):
        yield Violation("I7", f"batch {event['seq']} has {size} tasks, counts {event['count']}, may have {largest}")


def check_order(received: Sequence[int]) -> Iterator[Violation]:
    """I7: events are received in the order of their numbers, none twice."""
    for last, seq in pairwise(received):
        if seq <= last:
            yield Violation("I7", f"event {seq} was delivered after {last}: repeated or out of order")


def check_delivery(received: Collection[int], logged: Collection[int]) -> Iterator[Violation]:
    """I7: every event of the log is received, and no other."""
    for seq in sorted(set(logged) - set(received)):
        yield Violation("I7", f"event {seq} was never delivered")
    for seq in sorted(set(received) - set(logged)):
        yield Violation("I7", f"event {seq} was delivered and is not in the log")


def check_contents(received: Iterable[Facts], logged: Mapping[int, Facts]) -> Iterator[Violation]:
    """I7: an event is received as the log has it: of the same type and about the same task."""
    for event in received:
        stored = logged.get(event["seq"], event)
        kind = BATCH_SENT if stored["type"] == BATCH_STORED else stored["type"]
        if (event["type"], event.get("taskId")) != (kind, stored.get("taskId")):
            yield Violation("I7", f"event {event['seq']} was delivered as {event}, and the log has {stored}")
