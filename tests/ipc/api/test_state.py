"""The state of a home as one value."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backburner import (
    BackgroundState,
    InvalidInput,
    TaskStatus,
    clear_background_state,
    create_empty_state,
    load_background_state,
    save_background_state,
)
from tests.helpers.yard import Yard


def test_no_task_is_no_state(home):
    assert load_background_state() is None
    assert list(home.iterdir()) == []
    with Yard(home):
        assert load_background_state() is None


def test_an_empty_state_has_no_tasks_and_is_of_now():
    state = create_empty_state()
    assert (state.tasks, state.active_count) == ({}, {})
    assert abs((datetime.now(UTC) - state.last_updated).total_seconds()) < 60


def test_a_state_holds_every_task_whole_and_counts_what_runs(yard, home):
    done = yard.run()
    running = [yard.launch(model="opus") for _ in range(2)]
    for slot, id in enumerate(running):
        yard.start(id, "opus", slot)
    pending = yard.launch(prompt="p", agent="external", metadata={"a": 1})
    state = load_background_state(home)
    assert list(state.tasks) == [done, *running, pending]
    assert state.active_count == {"opus": 2}
    assert (state.tasks[pending].prompt, state.tasks[pending].metadata) == ("p", {"a": 1})


def test_nothing_is_saved_while_a_task_runs(yard):
    yard.start(id := yard.launch())
    assert save_background_state(create_empty_state()) is False
    assert yard.get(id).status is TaskStatus.RUNNING


def test_what_was_loaded_is_saved_without_a_loss(yard):
    ids = [
        yard.run(parent_session_id="ses-1"),
        yard.run(TaskStatus.ERROR),
        yard.launch(env={"A": "b"}, stdin="text", leave_children=False, retries=3, priority=2),
        yard.launch(delay_ms=60_000),
    ]
    tasks = [yard.get(id) for id in ids]
    assert save_background_state(load_background_state()) is True
    assert [yard.get(id) for id in ids] == tasks
    claimed = yard.start(ids[2])
    assert (claimed.env, claimed.stdin, claimed.leave_children, claimed.max_attempts) == ({"A": "b"}, "text", False, 4)


def test_a_task_that_the_state_calls_running_comes_back_as_lost(yard):
    claimed = yard.start(id := yard.launch())
    state = load_background_state()
    yard.settle(claimed)
    assert save_background_state(state) is True
    task = yard.get(id)
    assert (task.status, task.error_kind, task.slot) == (TaskStatus.ERROR, "lost", None)
    assert task.completed_at is not None


def test_a_saved_state_replaces_all_tasks(yard):
    kept, dropped = yard.launch(), yard.launch()
    state = load_background_state()
    added = replace(state.tasks[kept], id="bg-11111111-2222-4333-8444-555555555555", description="new")
    assert save_background_state(replace(state, tasks={kept: state.tasks[kept], added.id: added}))
    assert yard.queue.unfinished() == [kept, added.id]
    assert yard.get(added.id).description == "new"
    assert {group.name: group.pending for group in yard.groups.all()} == {"command": 2}
    assert dropped not in load_background_state().tasks


def test_what_a_changed_task_was_launched_with_and_wrote_stays(yard):
    id = yard.launch(env={"A": "b"}, retries=1)
    yard.settle(yard.start(id), TaskStatus.ERROR, outputs=(("stdout", b"written"),))
    state = load_background_state()
    changed = replace(state.tasks[id], description="looked at")
    assert save_background_state(replace(state, tasks={id: changed}))
    assert yard.get(id).description == "looked at"
    assert yard.queue.output(id, "stdout", 0, 99).data == b"written"
    yard.queue.retry(id)
    assert yard.start(id).env == {"A": "b"}


def test_a_state_may_undo_what_happened_since(yard):
    id = yard.launch(parent_session_id="ses-1")
    state = load_background_state()
    yard.settle(yard.start(id), result="done")
    assert save_background_state(state)
    assert yard.get(id).status is TaskStatus.PENDING
    assert yard.log.unbatched() == {}
    yard.settle(yard.start(id))
    assert yard.get(id).status is TaskStatus.COMPLETED


def test_dependents_follow_what_a_state_says_of_what_they_wait_for(yard):
    first, second = yard.launch(), yard.launch()
    after, gone = yard.launch(after=(first,)), yard.launch(after=(second,))
    state = load_background_state()
    done = replace(state.tasks[first], status=TaskStatus.COMPLETED, completed_at=state.last_updated)
    tasks = {id: task for id, task in {**state.tasks, first: done}.items() if id != second}
    assert save_background_state(replace(state, tasks=tasks))
    yard.queue.promote()
    yard.start(after)
    yard.start(gone, slot=1)


def test_ends_that_wait_are_told_before_their_tasks_are_replaced(yard):
    yard.run(parent_session_id="ses-1")
    assert save_background_state(create_empty_state())
    assert yard.told("ses-1")[-1] == "background_tasks_batch"
    assert yard.log.count_unbatched() == 0


def test_a_state_with_a_mistake_is_refused_whole(yard):
    id = yard.launch()
    state = load_background_state()
    wrong = replace(state.tasks[id], attempt=-1)
    with pytest.raises(InvalidInput) as refusal:
        save_background_state(replace(state, tasks={id: wrong}))
    assert refusal.value.field == f"tasks.{id}.attempt"
    assert yard.get(id) == state.tasks[id] or yard.get(id).status is TaskStatus.PENDING


def test_a_state_is_saved_in_the_home_it_came_from(yard, home, tmp_path, monkeypatch):
    id = yard.launch()
    state = load_background_state(home)
    monkeypatch.setenv("BACKBURNER_HOME", str(tmp_path / "other"))
    assert save_background_state(replace(state, tasks={}))
    assert load_background_state(home) is None
    assert save_background_state(BackgroundState(state.tasks))
    assert list(load_background_state().tasks) == [id]
    assert load_background_state(home) is None


def test_clearing_cancels_and_forgets(yard, home):
    yard.launch(parent_session_id="ses-1")
    assert clear_background_state() is True
    assert load_background_state() is None
    assert yard.told() == []
    assert clear_background_state(home / "nowhere") is True
    assert not (home / "nowhere").exists()
