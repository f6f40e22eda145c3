"""Loading and saving all tasks as one state."""

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
from tests.helpers.queue_db import QueueDatabase


def test_load_returns_none_without_tasks(home):
    assert load_background_state() is None
    assert list(home.iterdir()) == []
    with QueueDatabase(home):
        assert load_background_state() is None


def test_empty_state_has_no_tasks_and_the_current_time():
    state = create_empty_state()
    assert (state.tasks, state.active_count) == ({}, {})
    assert abs((datetime.now(UTC) - state.last_updated).total_seconds()) < 60


def test_load_returns_complete_tasks_and_counts_running_ones(queue_db, home):
    done = queue_db.run()
    running = [queue_db.launch(model="opus") for _ in range(2)]
    for slot, id in enumerate(running):
        queue_db.start(id, "opus", slot)
    pending = queue_db.launch(prompt="p", agent="external", metadata={"a": 1})
    state = load_background_state(home)
    assert list(state.tasks) == [done, *running, pending]
    assert state.active_count == {"opus": 2}
    assert (state.tasks[pending].prompt, state.tasks[pending].metadata) == ("p", {"a": 1})


def test_save_is_refused_while_a_task_is_running(queue_db):
    queue_db.start(id := queue_db.launch())
    assert save_background_state(create_empty_state()) is False
    assert queue_db.get(id).status is TaskStatus.RUNNING


def test_loaded_state_is_saved_without_loss(queue_db):
    ids = [
        queue_db.run(parent_session_id="ses-1"),
        queue_db.run(TaskStatus.ERROR),
        queue_db.launch(env={"A": "b"}, stdin="text", leave_children=False, retries=3, priority=2),
        queue_db.launch(delay_ms=60_000),
    ]
    tasks = [queue_db.get(id) for id in ids]
    assert save_background_state(load_background_state()) is True
    assert [queue_db.get(id) for id in ids] == tasks
    claimed = queue_db.start(ids[2])
    assert (claimed.env, claimed.stdin, claimed.leave_children, claimed.max_attempts) == ({"A": "b"}, "text", False, 4)


def test_running_task_of_a_state_is_saved_as_lost(queue_db):
    claimed = queue_db.start(id := queue_db.launch())
    state = load_background_state()
    queue_db.settle(claimed)
    assert save_background_state(state) is True
    task = queue_db.get(id)
    assert (task.status, task.error_kind, task.slot) == (TaskStatus.ERROR, "lost", None)
    assert task.completed_at is not None


def test_save_replaces_all_tasks(queue_db):
    kept, dropped = queue_db.launch(), queue_db.launch()
    state = load_background_state()
    added = replace(state.tasks[kept], id="bg-11111111-2222-4333-8444-555555555555", description="new")
    assert save_background_state(replace(state, tasks={kept: state.tasks[kept], added.id: added}))
    assert queue_db.queue.unfinished() == [kept, added.id]
    assert queue_db.get(added.id).description == "new"
    assert {group.name: group.pending for group in queue_db.groups.all()} == {"command": 2}
    assert dropped not in load_background_state().tasks


def test_save_keeps_inputs_and_output_of_a_changed_task(queue_db):
    id = queue_db.launch(env={"A": "b"}, retries=1)
    queue_db.settle(queue_db.start(id), TaskStatus.ERROR, outputs=(("stdout", b"written"),))
    state = load_background_state()
    changed = replace(state.tasks[id], description="looked at")
    assert save_background_state(replace(state, tasks={id: changed}))
    assert queue_db.get(id).description == "looked at"
    assert queue_db.queue.output(id, "stdout", 0, 99).data == b"written"
    queue_db.queue.retry(id)
    assert queue_db.start(id).env == {"A": "b"}


def test_save_may_restore_a_task_that_has_ended_since(queue_db):
    id = queue_db.launch(parent_session_id="ses-1")
    state = load_background_state()
    queue_db.settle(queue_db.start(id), result="done")
    assert save_background_state(state)
    assert queue_db.get(id).status is TaskStatus.PENDING
    assert queue_db.log.unbatched() == {}
    queue_db.settle(queue_db.start(id))
    assert queue_db.get(id).status is TaskStatus.COMPLETED


def test_saved_dependencies_have_the_outcome_of_the_state(queue_db):
    first, second = queue_db.launch(), queue_db.launch()
    after, gone = queue_db.launch(after=(first,)), queue_db.launch(after=(second,))
    state = load_background_state()
    done = replace(state.tasks[first], status=TaskStatus.COMPLETED, completed_at=state.last_updated)
    tasks = {id: task for id, task in {**state.tasks, first: done}.items() if id != second}
    assert save_background_state(replace(state, tasks=tasks))
    queue_db.queue.promote()
    queue_db.start(after)
    queue_db.start(gone, slot=1)


def test_save_forms_batches_before_it_replaces_tasks(queue_db):
    queue_db.run(parent_session_id="ses-1")
    assert save_background_state(create_empty_state())
    assert queue_db.event_types("ses-1")[-1] == "background_tasks_batch"
    assert queue_db.log.count_unbatched() == 0


def test_save_refuses_a_state_with_an_invalid_task(queue_db):
    id = queue_db.launch()
    state = load_background_state()
    wrong = replace(state.tasks[id], attempt=-1)
    with pytest.raises(InvalidInput) as refusal:
        save_background_state(replace(state, tasks={id: wrong}))
    assert refusal.value.field == f"tasks.{id}.attempt"
    assert queue_db.get(id) == state.tasks[id] or queue_db.get(id).status is TaskStatus.PENDING


def test_state_is_saved_in_the_directory_it_was_loaded_from(queue_db, home, tmp_path, monkeypatch):
    id = queue_db.launch()
    state = load_background_state(home)
    monkeypatch.setenv("BACKBURNER_HOME", str(tmp_path / "other"))
    assert save_background_state(replace(state, tasks={}))
    assert load_background_state(home) is None
    assert save_background_state(BackgroundState(state.tasks))
    assert list(load_background_state().tasks) == [id]
    assert load_background_state(home) is None


def test_clear_background_state_cancels_and_deletes_tasks(queue_db, home):
    queue_db.launch(parent_session_id="ses-1")
    assert clear_background_state() is True
    assert load_background_state() is None
    assert queue_db.event_types() == []
    assert clear_background_state(home / "nowhere") is True
    assert not (home / "nowhere").exists()
