"""The outcome of an attempt, and what follows from it."""

from __future__ import annotations

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.model.claim import Held
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.execution.outcome import MAX_INTERRUPTIONS, Outcome, backoff, interrupted, settlement_of
from tests.helpers.queue_db import QueueDatabase


def test_task_that_is_interrupted_too_often_fails(queue_db: QueueDatabase):
    id = queue_db.launch(parent_session_id="p")
    claims = 0
    while claimed := queue_db.claim():
        claims += 1
        queue_db.queue.settle(interrupted(claimed, "Its worker died before it was started."))
    task = queue_db.get(id)
    assert claims == MAX_INTERRUPTIONS == 5
    assert (task.status, task.error_kind, task.attempt) == ("error", "lost", 0)
    assert "5 times" in (task.error or "")


def test_interrupted_task_is_requeued_with_its_unique_key(queue_db: QueueDatabase):
    id = queue_db.launch(unique_key="one")
    claimed = queue_db.start(id)
    queue_db.queue.settle(interrupted(claimed, "Its worker died before it was started."))
    assert queue_db.get(id).status == "pending"
    assert queue_db.launch(unique_key="one") == id


def test_backoff_is_random_below_a_bound_that_doubles_up_to_a_limit():
    config = BackgroundConfig(retry_base_ms=100, retry_max_ms=500)
    for attempt, bound in ((1, 100), (2, 200), (3, 400), (4, 500), (1000, 500)):
        waits = [backoff(attempt, config) for _ in range(400)]
        assert 0 <= min(waits) < bound / 10
        assert bound * 0.9 < max(waits) <= bound
        assert len(set(waits)) > bound / 4  # tasks that failed together are not retried together


def test_lost_task_without_retries_fails():
    one = Held(
        number=1,
        id="a",
        claim=1,
        attempt=1,
        max_attempts=1,
        interruptions=0,
        group="g",
        agent="command",
        owner=1,
        requested=None,
    )
    settlement = settlement_of(one, Outcome(error="Its worker died.", error_kind="lost"), BackgroundConfig())
    assert (settlement.status, settlement.not_before) == (TaskStatus.ERROR, None)
