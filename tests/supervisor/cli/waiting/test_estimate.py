from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backburner.ipc.model.task import Task, TaskStatus
from backburner.supervisor.cli.waiting.estimate import total_duration

NOW = 1_000_000.0


def task(key: str, age: float | None = None) -> Task:
    """Return a pending task, or one that has been running for `age` milliseconds."""
    queued = datetime.fromtimestamp(0, UTC)
    pending = Task(
        id="bg-1", agent="command", concurrency_key=key, cwd="/", status=TaskStatus.PENDING, queued_at=queued
    )
    if age is None:
        return pending
    return replace(pending, status=TaskStatus.RUNNING, started_at=datetime.fromtimestamp((NOW - age) / 1000, UTC))


@pytest.mark.parametrize(
    ("tasks", "left"),
    [
        ([task("a", 3000)], 7000),
        ([task("a", 30_000)], 0),
        ([task("a", 3000), task("a")], 17_000),
        ([task("a", 0), task("a", 0), task("a"), task("a")], 20_000),
        ([task("a", 9000), task("b", 0)], 500_000),
        ([task("a"), task("unknown")], None),
        ([], None),
    ],
)
def test_estimate_counts_work_by_key_and_the_tasks_that_run_at_once(tasks: list[Task], left: float | None):
    assert total_duration(tasks, {"a": 10_000, "b": 500_000}, NOW) == left
