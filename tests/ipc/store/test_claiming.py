"""Series: the tasks that a worker takes at once, holds behind the running one, and publishes."""

from __future__ import annotations

import pytest

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.errors import HeldByWorker
from backburner.ipc.model.claim import Ended, Rescued, Settlement, Slot, Step, Taken
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store.sessions import adopt
from tests.helpers.series import Series

STARTED, COMPLETED, RETRYING = (
    "background_task_started",
    "background_task_completed",
    "background_task_retrying",
)


def expiry_of(task: Task) -> int:
    """Return when a pending task expires, in milliseconds since 1970."""
    return clock.parse(task.to_json()["queuedAt"]) + 50_000


# taking


def test_series_starts_its_first_task_and_holds_the_others(series):
    assert [one.task.id for one in series.taken] == series.ids
    assert [one.current for one in series.taken] == [True, False, False]
    assert series.queue_db.get(series.ids[0]).status == "running"
    assert [series.is_held(at) for at in (1, 2)] == [True, True]
    assert series.queue_db.event_types() == [STARTED]


def test_claims_of_a_series_are_consecutive_and_given_once(series):
    first = [one.claim for one in series.taken]
    assert first == list(range(first[0], first[0] + 3))
    series.queue_db.launch(concurrency_key="two")
    assert series.queue_db.claim("two").claim > first[-1]


def test_held_tasks_are_not_offered_to_other_workers(series):
    queue = series.queue_db.queue
    assert queue.store.limits.waiting() == []
    ids = [series.queue_db.launch(concurrency_key="two") for _ in range(4)]
    taken = [one for slot in (0, 1) for one in queue.take(Slot("two", slot), series.queue_db.owner, 4)]
    assert [one.task.id for one in taken] == ids[:3]


def test_task_that_is_taken_by_its_key_has_all_its_inputs(queue_db):
    queue_db.groups.limit("api/*", 2)
    queue_db.launch(concurrency_key="api/a", command=("first",))
    id = queue_db.launch(concurrency_key="api/b", command=("second",), umask="0027")
    (taken,) = queue_db.queue.take(Slot("api/*", 0), queue_db.owner, 1, "api/b")
    assert (taken.task.id, taken.task.command, taken.task.umask) == (id, '["second"]', "0027")


@pytest.mark.parametrize(("ready", "taken"), [(1, 1), (3, 1), (4, 2), (7, 3), (20, 4)])
def test_series_leaves_half_of_a_group_to_its_other_slots(limited, ready, taken):
    for _ in range(ready):
        limited.launch(concurrency_key="two")
    assert len(limited.queue.take(Slot("two", 0), limited.owner, 4)) == taken


@pytest.mark.parametrize(
    "alone", [{"stdin": "x"}, {"agent": "external", "prompt": "p"}, {"leave_children": True}, {"timeout_ms": 20}]
)
def test_series_ends_before_a_task_that_runs_alone(limited, alone):
    for launch in ({}, {}, alone, {}):
        limited.launch(concurrency_key="one", **launch)
    assert len(limited.queue.take(Slot("one", 0), limited.owner, 4)) == 2


def test_task_that_runs_alone_is_taken_alone(limited):
    limited.launch(concurrency_key="one", stdin="x")
    limited.launch(concurrency_key="one")
    assert len(limited.queue.take(Slot("one", 0), limited.owner, 4)) == 1


def test_series_has_one_agent(limited):
    limited.launch(concurrency_key="one")
    limited.launch(concurrency_key="one", call="m:f")
    assert len(limited.queue.take(Slot("one", 0), limited.owner, 4)) == 1


# publishing


def test_held_task_that_completed_is_started_and_completed_in_order(series):
    queue_db = series.queue_db
    series.publish(*(series.ended(at, result=f"r{at}", exit_code=0, ended_at=2000 + at) for at in range(3)))
    assert queue_db.event_types() == [STARTED, COMPLETED] * 3
    assert queue_db.event_types("ses-1") == queue_db.event_types()
    task = queue_db.get(series.ids[1])
    assert (task.status, task.attempt, task.result, task.exit_code) == ("completed", 1, "r1", 0)
    assert [clock.iso(at) for at in (1001, 2001)] == [task.to_json()[name] for name in ("startedAt", "completedAt")]
    assert queue_db.queue.claim_of(task.id) == series.taken[1].claim
    assert queue_db.log.form_batch("ses-1", 9) == 3


def test_completion_without_a_time_happens_now(series):
    before = clock.now()
    series.publish(series.ended(0), series.ended(1))
    assert before <= clock.parse(series.queue_db.get(series.ids[1]).to_json()["completedAt"]) <= clock.now()


def test_held_task_that_failed_is_started_before_it_ends(series):
    series.publish(series.ended(0), series.ended(1, TaskStatus.ERROR), series.ended(2))
    assert series.queue_db.event_types() == [STARTED, COMPLETED] * 3
    assert [series.queue_db.get(id).status for id in series.ids] == ["completed", "error", "completed"]


def test_held_task_that_is_retried_is_ready_again(limited):
    series = Series(limited, 2, retries=1)
    series.publish(series.ended(0), series.ended(1, TaskStatus.PENDING))
    assert limited.event_types() == [STARTED, COMPLETED, STARTED, RETRYING]
    assert [one.attempt for one in series.take(4)] == [2]


def test_step_publishes_a_series_and_takes_the_next(limited):
    series = Series(limited, 2)
    following = [limited.launch(concurrency_key="one") for _ in range(2)]
    taken = series.publish(series.ended(0), series.ended(1), count=4)
    assert [one.task.id for one in taken] == following
    assert [one.current for one in taken] == [True, False]


def test_current_task_of_a_step_is_the_running_one_of_the_slot(series):
    series.taken[1].started_at = 1500
    series.publish(series.ended(0), current=series.taken[1])
    task = series.queue_db.get(series.ids[1])
    assert (task.status, task.slot, task.to_json()["startedAt"]) == ("running", 0, clock.iso(1500))
    assert series.queue_db.event_types() == [STARTED, COMPLETED, STARTED]


def test_returned_task_is_ready_with_its_expiry_and_counts_no_attempt(series):
    queue = series.queue_db.queue
    assert queue.store.queue.next_due() is None
    series.publish(current=series.taken[0])
    task = queue.get(series.ids[1])
    assert queue.store.limits.waiting() == [(series.taken[1].number, "one")]
    assert queue.store.queue.next_due() == expiry_of(task)
    assert (task.attempt, queue.claim_of(task.id)) == (0, None)


def test_held_task_that_completed_makes_its_dependents_ready(series):
    after = series.queue_db.launch(concurrency_key="two", after=(series.ids[1],))
    series.publish(series.ended(0), series.ended(1))
    assert series.queue_db.queue.promote() == {"two"}
    series.queue_db.start(after, "two")


@pytest.mark.parametrize("role", ["ended", "current", "returned"])
def test_held_task_is_published_only_under_its_claim(series, role):
    foreign = Taken(series.taken[1].task, series.taken[1].claim + 100, series.slot, None)
    settlement = Settlement(foreign.number, foreign.claim, TaskStatus.COMPLETED)
    step = {
        "ended": {"ended": [Ended(foreign, 1, settlement)]},
        "current": {"ended": [series.ended(0)], "current": foreign},
        "returned": {"returned": [foreign]},
    }[role]
    with pytest.raises(AssertionError):
        series.queue_db.queue.advance(Step(series.slot, series.queue_db.owner, **step))
    assert series.is_held(1)
    assert series.queue_db.event_types() == [STARTED]


# rescue


def test_rescue_returns_held_tasks_that_have_not_ended(series):
    ended = [
        Rescued(one.number, one.claim, series.ended(at).settlement, "one" if at else None, 1000 + at)
        for at, one in enumerate(series.taken[:2])
    ]
    back = Rescued(series.taken[2].number, series.taken[2].claim, None, "one")
    assert series.queue_db.queue.rescue([*ended, back]) == ["completed", "completed", "pending"]
    assert series.queue_db.event_types() == [STARTED, COMPLETED] * 2
    assert series.queue_db.queue.store.queue.held_by(series.queue_db.owner) == []
    assert [one.task.id for one in series.take(4)] == [series.ids[2]]


@pytest.mark.parametrize("ended", [True, False])
def test_rescue_with_an_old_claim_changes_nothing(series, ended):
    one = series.taken[1]
    settlement = Settlement(one.number, one.claim + 100, TaskStatus.COMPLETED) if ended else None
    assert series.queue_db.queue.rescue([Rescued(one.number, one.claim + 100, settlement, "one", 1)]) == [None]
    assert series.is_held(1)


def test_second_rescue_does_not_settle_a_returned_task(series):
    one = series.taken[1]
    series.publish(current=series.taken[0])
    assert series.queue_db.queue.rescue([Rescued(one.number, one.claim, series.ended(1).settlement, "one", 1)]) == [
        None
    ]
    assert series.queue_db.get(one.task.id).status == "pending"


# other processes


@pytest.mark.parametrize("change", ["cancel", "complete", "fail", "progress"])
def test_change_of_a_held_task_is_refused_and_requests_it(series, change):
    more = ["text"] if change in ("fail", "progress") else []
    with pytest.raises(HeldByWorker):
        getattr(series.queue_db.queue, change)(series.ids[1], *more)
    assert series.is_held(1)
    assert [series.is_requested(at) for at in (1, 2)] == [True, False]


def test_request_keeps_the_time_of_the_first(series, monkeypatch):
    for now in (5000, 6000):
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        with pytest.raises(HeldByWorker):
            series.queue_db.queue.cancel(series.ids[1])
    assert series.held(1).requested == 5000


def test_cancel_all_cancels_other_tasks_and_requests_held_ones(series, monkeypatch):
    woken: list[int] = []
    monkeypatch.setattr("backburner.ipc.store.processes.wake_process", lambda _, owner: woken.append(owner))
    waiting = series.queue_db.launch()
    with pytest.raises(HeldByWorker):
        series.queue_db.queue.cancel_all([series.ids[0], series.ids[1], waiting])
    assert series.queue_db.get(waiting).status == "cancelled"
    assert series.queue_db.get(series.ids[0]).stopping
    assert set(woken) == {series.queue_db.owner}
    assert (series.is_held(1), series.is_requested(1)) == (True, True)


def test_limit_is_not_set_while_tasks_are_held(series):
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.limit("one", 5)
    assert series.queue_db.groups.limits().limit("one") == 1
    assert [series.is_requested(at) for at in (1, 2)] == [True, True]


def test_workers_take_series_again_after_a_limit_could_not_be_set(series):
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.limit("one", 5)
    series.publish(series.ended(0))
    assert len(series.take(4)) == 2


def test_limits_are_applied_once_no_task_is_held(series):
    assert series.queue_db.groups.configure() == {series.queue_db.owner}
    series.publish(series.ended(0))
    series.taken = series.take(4)
    assert len(series.taken) == 1
    assert series.queue_db.groups.configure() == set()
    series.publish(series.ended(0))
    series.queue_db.launch(concurrency_key="one")
    assert len(series.take(4)) == 2


def test_pause_requests_only_held_tasks_of_its_group(series):
    for _ in range(4):
        series.queue_db.launch(concurrency_key="two")
    other = series.queue_db.queue.take(Slot("two", 0), series.queue_db.owner, 2)[1]
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.pause("one")
    assert series.queue_db.get(series.ids[1]).waiting_for == "paused"
    assert [series.is_requested(at) for at in (1, 2)] == [True, True]
    series.ids.append(other.task.id)
    assert not series.is_requested(3)


@pytest.mark.parametrize(
    "change",
    [
        lambda queue_db, id: queue_db.queue.cancel(id),
        lambda queue_db, id: queue_db.queue.cancel_all([id]),
        lambda queue_db, id: queue_db.groups.limit("one", 3),
        lambda queue_db, id: queue_db.groups.pause("one"),
    ],
    ids=["cancel", "cancel_all", "limit", "pause"],
)
def test_waiting_change_is_made_once_the_worker_has_published(publishing, change):
    change(publishing.queue_db, publishing.ids[1])
    assert not publishing.is_held(1)


def test_held_task_neither_expires_nor_becomes_ready(series, monkeypatch):
    later = clock.now() + 60_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert series.queue_db.queue.store.queue.next_due() is None
    series.queue_db.queue.promote()
    assert series.is_held(1)
    series.publish(current=series.taken[0])
    series.queue_db.queue.promote()
    assert series.queue_db.get(series.ids[1]).error_kind == "expired"


def test_expiry_of_a_held_task_moves_with_the_wall_clock(series):
    queue = series.queue_db.store.queue
    queue.shift(7000, clock.now() + 1)
    series.publish(current=series.taken[0])
    assert queue.next_due() == expiry_of(series.queue_db.get(series.ids[1])) + 7000


def test_held_task_moves_to_the_successor_of_its_session(series):
    assert adopt(series.queue_db.store, "ses-1", "ses-2").tasks == 3
    assert series.is_held(1)
    series.publish(series.ended(0), series.ended(1))
    assert series.queue_db.event_types("ses-2") == [COMPLETED, STARTED, COMPLETED]


def test_import_skips_a_held_task(publishing):
    maintenance = Maintenance(publishing.queue_db.store, publishing.queue_db.config)
    task = {"id": publishing.ids[1], "agent": "command", "status": "completed", "queuedAt": "2026-01-01T00:00:00.000Z"}
    assert maintenance.load({"format": "backburner", "version": 1, "tasks": [task]}).skipped == 1
    assert publishing.is_held(1)


def test_held_task_is_not_pruned(series, monkeypatch):
    later = clock.now() + 1000 * 86_400_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert Maintenance(series.queue_db.store, series.queue_db.config).prune().tasks == 0
    assert series.is_held(1)


def test_group_counts_held_tasks_as_pending(series):
    def counted() -> tuple[int, int]:
        one = next(group for group in series.queue_db.groups.all() if group.name == "one")
        return one.running, one.pending

    assert counted() == (1, 2)
    series.publish(series.ended(0), series.ended(1), current=series.taken[2])
    assert counted() == (1, 0)


def test_export_waits_until_held_tasks_are_published(publishing):
    maintenance = Maintenance(publishing.queue_db.store, publishing.queue_db.config)
    assert "".join(maintenance.export()).count('"pending"') == 2
    assert not publishing.is_held(1)


def test_clear_cancels_held_tasks_once_they_are_published(publishing, monkeypatch):
    maintenance = Maintenance(publishing.queue_db.store, publishing.queue_db.config)

    def end_running(_: object, running: list[str]) -> None:
        if running:
            publishing.queue_db.queue.settle(publishing.ended(0).settlement)

    monkeypatch.setattr("backburner.ipc.api.maintenance.wait_until_gone", end_running)
    assert maintenance.clear().tasks == 3
