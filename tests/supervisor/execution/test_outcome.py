"""How a try went, and what follows from it."""

from __future__ import annotations

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.model.claim import Held
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.execution.outcome import MOST_INTERRUPTIONS, Outcome, backoff, interrupted, settlement_of
from tests.helpers.yard import Yard


def test_a_task_whose_worker_dies_each_time_before_it_starts_is_not_tried_for_ever(yard: Yard):
    id = yard.launch(parent_session_id="p")
    tries = 0
    while claimed := yard.claim():
        tries += 1
        yard.queue.settle(interrupted(claimed, "Its worker died before it was started."))
    task = yard.get(id)
    assert tries == MOST_INTERRUPTIONS == 5
    assert (task.status, task.error_kind, task.attempt) == ("error", "lost", 0)
    assert "5 times" in (task.error or "")


def test_an_interrupted_task_that_has_a_unique_name_goes_back_and_keeps_it(yard: Yard):
    id = yard.launch(unique_key="one")
    claimed = yard.start(id)
    yard.queue.settle(interrupted(claimed, "Its worker died before it was started."))
    assert yard.get(id).status == "pending"
    assert yard.launch(unique_key="one") == id


def test_tries_are_spread_over_all_of_a_time_that_doubles_up_to_a_bound():
    config = BackgroundConfig(retry_base_ms=100, retry_max_ms=500)
    for attempt, bound in ((1, 100), (2, 200), (3, 400), (4, 500), (1000, 500)):
        waits = [backoff(attempt, config) for _ in range(400)]
        assert 0 <= min(waits) < bound / 10
        assert bound * 0.9 < max(waits) <= bound
        assert len(set(waits)) > bound / 4  # they do not all come back at the same moment


def test_without_retries_asked_for_nothing_that_may_have_had_effects_is_run_again():
    one = Held(number=1, id="a", claim=1, attempt=1, max_attempts=1, interruptions=0, group="g", agent="command")
    settlement = settlement_of(one, Outcome(error="Its worker died.", error_kind="lost"), BackgroundConfig())
    assert (settlement.status, settlement.not_before) == (TaskStatus.ERROR, None)
