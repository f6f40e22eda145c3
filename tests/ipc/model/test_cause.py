from __future__ import annotations

from typing import Any

import pytest

from backburner.ipc import clock
from backburner.ipc.model.cause import attempts, cause, cause_in, leftovers, outcome
from backburner.ipc.model.task import ERROR_KINDS, Task, TaskStatus


def task(status: str = "error", **fields: Any) -> Task:
    now = clock.to_datetime(0)
    return Task(
        id="bg-1", agent="command", concurrency_key="k", cwd="/", status=TaskStatus(status), queued_at=now, **fields
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"error_kind": "exit", "exit_code": 2, "error": "exit code 2: no rule"}, "exit code 2"),
        ({"error_kind": "signal", "signal": 11, "error": "x"}, "killed by SIGSEGV"),
        ({"error_kind": "timeout", "timeout_ms": 600_000, "error": "x"}, "timeout after 10 m"),
        ({"error_kind": "timeout", "timeout_ms": 3000, "error": "x"}, "timeout after 3 s"),
        (
            {"error_kind": "spawn", "exit_code": 127, "error": "./s: no interpreter"},
            "cannot start: ./s: no interpreter",
        ),
        ({"error_kind": "spawn", "exit_code": 127, "error": "make: command not found"}, "command not found"),
        (
            {"error_kind": "spawn", "exit_code": 1, "error": "The folder /x cannot be used."},
            "cannot start: the folder /x cannot be used",
        ),
        ({"error_kind": "dependency", "error": "Its dependency bg-3a47defe-1 failed."}, "dependency 3a47defe failed"),
        (
            {"error_kind": "dependency", "error": "Its dependency bg-3a47defe-1 was cancelled."},
            "dependency 3a47defe was cancelled",
        ),
        ({"error_kind": "dependency", "error": "A task that it depends on did not complete."}, "dependency failed"),
        ({"error_kind": "lost", "error": "Its worker died."}, "lost: its worker died"),
        ({"error_kind": "failed", "error": "It says that it failed: no key"}, "failed: no key"),
        ({"error_kind": "failed", "error": "a\x1b[2J\nb"}, "failed: b"),
        ({}, ""),
    ],
)
def test_cause_is_a_few_words(fields: dict[str, Any], words: str):
    assert cause(task(**fields)) == cause_in(task(**fields).brief()) == words


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_every_kind_has_a_cause_without_details(kind: str):
    assert cause(task(error_kind=kind))


def test_leftovers_are_counted_with_the_way_to_keep_them():
    assert leftovers(task("completed")) == ""
    assert (
        leftovers(task("completed", leftovers=3)) == "3 processes it left behind were ended (leave_children keeps them)"
    )


def test_outcome_names_status_cause_and_attempt():
    assert outcome(task("completed", attempt=1)) == "completed"
    assert (
        outcome(task(error_kind="exit", exit_code=2, attempt=3, max_attempts=3)) == "failed: exit code 2, attempt 3/3"
    )
    assert outcome(task(error_kind="failed", error="no")) == "failed: no"
    assert attempts(task("running", attempt=2, max_attempts=3)) == "2/3"
    assert attempts(task("pending", max_attempts=3)) == ""
