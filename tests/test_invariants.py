"""The checks of the invariants: sound records pass, and each violation is reported under its invariant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.helpers import invariants
from tests.helpers.invariants import BATCH_SENT, BATCH_STORED, ENDED, PROGRESS, RETRYING, STARTED, Start, Violation

PLAIN = {"status": "completed", "completed_at": 9, "limit_group": "g", "owner": None, "held": None}


def events(*kinds: str, id: str = "bg-1", status: str = "completed") -> list[dict[str, Any]]:
    """Return events of one task, numbered from 1."""
    common = {"taskId": id, "parentSessionId": "ses-1", "status": status}
    return [{"seq": seq, "type": kind, **common} for seq, kind in enumerate(kinds, 1)]


def task(**more: Any) -> dict[str, dict[str, Any]]:
    return {"bg-1": PLAIN | more}


def batch(*ids: str, count: int | None = None) -> dict[str, Any]:
    count = len(ids) if count is None else count
    return {"seq": 9, "type": BATCH_STORED, "parentSessionId": "ses-1", "taskIds": list(ids), "count": count}


def names(violations: Iterable[Violation]) -> list[str]:
    return [violation.invariant for violation in violations]


@pytest.mark.parametrize(
    "kinds",
    [
        (STARTED, ENDED),
        (ENDED,),
        (STARTED, PROGRESS, ENDED),
        (STARTED, RETRYING, STARTED, ENDED),
        (STARTED, RETRYING, ENDED),
    ],
)
def test_legal_life_has_no_violation(kinds: tuple[str, ...]):
    assert names(invariants.check_lives(events(*kinds), task())) == []


@pytest.mark.parametrize(
    "kinds",
    [
        (STARTED, STARTED, ENDED),
        (STARTED, ENDED, ENDED),
        (RETRYING, STARTED, ENDED),
        (PROGRESS, STARTED, ENDED),
        (STARTED, ENDED, PROGRESS),
        (STARTED, "background_task_unknown", ENDED),
    ],
)
def test_illegal_life_violates_i2(kinds: tuple[str, ...]):
    assert names(invariants.check_lives(events(*kinds), task())) == ["I2"]


def test_event_of_unknown_task_violates_i2():
    assert names(invariants.check_lives(events(STARTED, ENDED), {})) == ["I2", "I2"]


def test_second_start_after_an_end_violates_i2_unless_retried_by_command():
    twice = events(STARTED, ENDED, STARTED, ENDED)
    assert names(invariants.check_lives(twice, task())) == ["I2", "I2"]
    assert names(invariants.check_lives(twice, task(), retried={"bg-1"})) == []


@pytest.mark.parametrize(
    "row",
    [
        {"status": "error"},
        {"status": "running", "completed_at": None},
        {"status": "running"},
        {"completed_at": None},
    ],
)
def test_row_that_contradicts_its_events_violates_i3(row: dict[str, Any]):
    assert set(names(invariants.check_lives(events(STARTED, ENDED), task(**row)))) == {"I3"}


def test_row_that_has_ended_without_an_event_violates_i3():
    assert set(names(invariants.check_lives([], task()))) == {"I3"}


def side_by_side(kind: str) -> list[dict[str, Any]]:
    """Return events in which `kind` ends the first task before the second one starts."""
    first, second = events(STARTED, kind), events(STARTED, id="bg-2")
    return [*first, *second]


@pytest.mark.parametrize("kind", [ENDED, RETRYING])
def test_limit_allows_tasks_that_follow_each_other(kind: str):
    tasks = {"bg-1": PLAIN, "bg-2": PLAIN}
    assert names(invariants.check_limits(side_by_side(kind), tasks, {"g": 1})) == []


@pytest.mark.parametrize(("limit", "found"), [(1, ["I4"]), (2, []), (0, [])])
def test_limit_counts_tasks_that_run_at_once(limit: int, found: list[str]):
    tasks = {"bg-1": PLAIN, "bg-2": PLAIN}
    assert names(invariants.check_limits(side_by_side(PROGRESS), tasks, {"g": limit})) == found


@pytest.mark.parametrize("row", [{"status": "running"}, {"status": "pending"}, {"held": 7}])
def test_task_that_is_not_settled_violates_i6(row: dict[str, Any]):
    assert names(invariants.check_settled(task())) == []
    assert names(invariants.check_settled(task(**row))) == ["I6"]


def test_accepted_task_that_is_missing_violates_i1():
    assert names(invariants.check_accepted(["bg-1"], task())) == []
    assert names(invariants.check_accepted(["bg-1", "bg-2"], task())) == ["I1"]


@pytest.mark.parametrize("second", [Start("bg-2", 1, 1), Start("bg-1", 2, 1)])
def test_second_start_of_a_claim_or_an_attempt_violates_i2(second: Start):
    assert names(invariants.check_starts([Start("bg-1", 1, 1), Start("bg-1", 2, 2)])) == []
    assert names(invariants.check_starts([Start("bg-1", 1, 1), second])) == ["I2"]


FLAWED_BATCHES: dict[str, list[dict[str, Any]]] = {
    "no batch": [],
    "two batches": [batch("bg-1"), batch("bg-1")],
    "wrong count": [batch("bg-1", count=2)],
    "another parent": [batch("bg-1") | {"parentSessionId": "ses-2"}],
    "another task": [batch("bg-2")],
    "too large": [batch("bg-1"), batch(*["bg-3"] * 3)],
}


def test_end_in_one_batch_has_no_violation():
    assert names(invariants.check_batches([*events(STARTED, ENDED), batch("bg-1")], largest=1)) == []


def test_end_without_a_parent_needs_no_batch():
    assert names(invariants.check_batches([event | {"parentSessionId": None} for event in events(ENDED)])) == []


@pytest.mark.parametrize("flaw", FLAWED_BATCHES)
def test_flawed_batch_violates_i7(flaw: str):
    recorded = [*events(STARTED, ENDED), *FLAWED_BATCHES[flaw]]
    assert set(names(invariants.check_batches(recorded, largest=2))) == {"I7"}


FLAWED_DELIVERIES: dict[str, Callable[[], Iterator[Violation]]] = {
    "out of order": lambda: invariants.check_order([1, 3, 2]),
    "twice": lambda: invariants.check_order([1, 1]),
    "missing": lambda: invariants.check_delivery([1], [1, 2]),
    "invented": lambda: invariants.check_delivery([1, 2], [1]),
    "another type": lambda: invariants.check_contents(events(STARTED), {1: events(ENDED)[0]}),
    "another task": lambda: invariants.check_contents(events(STARTED), {1: events(STARTED, id="bg-2")[0]}),
}


@pytest.mark.parametrize("flaw", FLAWED_DELIVERIES)
def test_flawed_delivery_violates_i7(flaw: str):
    assert names(FLAWED_DELIVERIES[flaw]()) == ["I7"]


def test_complete_delivery_in_order_has_no_violation():
    assert names(invariants.check_order([1, 2, 7])) == []
    assert names(invariants.check_delivery([1, 2], [2, 1])) == []


def test_batch_is_delivered_under_another_type_than_it_is_stored():
    stored = batch("bg-1")
    assert names(invariants.check_contents([stored | {"type": BATCH_SENT}], {9: stored})) == []
    assert names(invariants.check_contents([stored], {9: stored})) == ["I7"]
