"""Changes of pending tasks, deletion of ended tasks, and the attempts of a task."""

from __future__ import annotations

import json

import pytest

from backburner.ipc.errors import InvalidInput, MoveNotAllowed, NotFound
from backburner.ipc.model.claim import Settlement
from backburner.ipc.model.edit import TaskEdit
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.sessions import adopt
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.series import Series

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"
OWN = "bg-11111111-2222-4333-8444-555555555555"


def changes(queue_db: QueueDatabase) -> list[list[str]]:
    """Return the fields of all events of changed tasks."""
    events = [json.loads(line.text) for line in queue_db.store.events.read(None, 0, 1000)]
    return [event["fields"] for event in events if event["type"] == "background_task_changed"]


def test_edit_changes_a_pending_task_and_appends_an_event(queue_db):
    id = queue_db.launch(command=("true",), tags=("a",), timeout_ms=5)
    edit = TaskEdit("later", 5, "slow", ("b", "c"), 60_000, 1000, 3)
    task = queue_db.queue.edit(id, edit)
    assert (task.description, task.priority, task.concurrency_key, task.tags) == ("later", 5, "slow", ("b", "c"))
    assert (task.timeout_ms, task.max_attempts, task.waiting_for) == (1000, 4, "delay")
    assert changes(queue_db) == [
        ["description", "priority", "concurrencyKey", "tags", "delayMs", "timeoutMs", "retries"]
    ]


def test_edit_clears_values_and_leaves_the_others(queue_db):
    id = queue_db.launch(command=("true",), description="x", tags=("a",), delay_ms=60_000, timeout_ms=5, priority=7)
    task = queue_db.queue.edit(id, TaskEdit(description="", tags=(), delay_ms=0, timeout_ms=0))
    assert (task.description, task.tags, task.not_before, task.timeout_ms, task.priority) == (None, (), None, None, 7)
    assert task.waiting_for == "supervisor"
    assert queue_db.claim("command", 0) is not None


def test_edited_key_moves_the_task_to_its_group(limited):
    id = limited.launch(command=("true",), concurrency_key="one")
    assert limited.queue.edit(id, TaskEdit(concurrency_key="two")).concurrency_key == "two"
    pending = {group.name: group.pending for group in limited.groups.all()}
    assert (pending["one"], pending["two"]) == (0, 1)
    assert limited.claim("one", 0) is None
    assert limited.claim("two", 0).id == id


def test_edited_delay_moves_the_expiry(limited, later):
    id = limited.launch(command=("true",), concurrency_key="one")
    limited.queue.edit(id, TaskEdit(delay_ms=60_000))
    later(55_000)
    limited.queue.promote()
    assert limited.get(id).status is TaskStatus.PENDING
    later(60_000)
    limited.queue.promote()
    assert limited.get(id).error_kind == "expired"


def test_edited_priority_changes_the_order(queue_db):
    first, second = queue_db.launch(command=("true",)), queue_db.launch(command=("true",))
    queue_db.queue.edit(second, TaskEdit(priority=1))
    assert [queue_db.claim("command", slot).id for slot in (0, 1)] == [second, first]


def test_edited_delay_does_not_release_a_task_that_waits_for_another(queue_db):
    blocker = queue_db.launch(command=("true",), concurrency_key="other")
    id = queue_db.launch(command=("true",), after=(blocker,), delay_ms=60_000)
    assert queue_db.queue.edit(id, TaskEdit(delay_ms=0)).waiting_for == "dependency"


def test_edited_task_is_returned_for_the_same_launch(queue_db):
    input = LaunchInput(id=OWN, command=("true",), priority=1)
    queue_db.queue.launch(input)
    queue_db.queue.edit(OWN, TaskEdit(priority=9))
    launched = queue_db.queue.launch(input)
    assert (launched.id, launched.existing, queue_db.get(OWN).priority) == (OWN, True, 9)


def test_edited_retries_count_from_the_first_attempt(queue_db):
    id = queue_db.launch(command=("true",), retries=2)
    claimed = queue_db.claim("command", 0)
    retry = Settlement(number=claimed.number, claim=claimed.claim, status=TaskStatus.PENDING, error_kind="exit")
    queue_db.queue.settle(retry)
    assert queue_db.queue.edit(id, TaskEdit(retries=4)).max_attempts == 5
    assert queue_db.queue.edit(id, TaskEdit(retries=0)).max_attempts == 2  # the attempt that it waits for


def test_only_a_pending_task_can_change(queue_db):
    id = queue_db.launch(command=("true",))
    queue_db.claim("command", 0)
    with pytest.raises(MoveNotAllowed, match="not pending"):
        queue_db.queue.edit(id, TaskEdit(priority=1))
    with pytest.raises(NotFound):
        queue_db.queue.edit(UNKNOWN, TaskEdit(priority=1))
    assert changes(queue_db) == []


def test_edit_without_a_field_or_with_a_wrong_one_is_refused():
    with pytest.raises(InvalidInput, match="needs a field"):
        TaskEdit.from_python({})
    with pytest.raises(InvalidInput, match="needs a field"):
        TaskEdit.from_checked_json({"id": OWN, "tags": None})
    with pytest.raises(InvalidInput, match="priority: expected a whole number"):
        TaskEdit.from_python({"priority": 5000})
    with pytest.raises(InvalidInput, match="prompt: expected a known name"):
        TaskEdit.from_python({"prompt": "x"})


def test_edit_waits_until_the_worker_publishes_a_held_task(publishing: Series, limited: QueueDatabase):
    id = publishing.taken[1].task.id
    assert publishing.is_held(1)
    assert limited.queue.edit(id, TaskEdit(priority=3)).priority == 3
    assert not publishing.is_held(1)


def test_remove_deletes_ended_tasks_with_their_files_and_keeps_the_events(queue_db):
    id = queue_db.launch(command=("true",), concurrency_key="k")
    claimed = queue_db.claim("k", 0)
    queue_db.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=TaskStatus.COMPLETED))
    output = queue_db.home.output(claimed.claim, "stdout")
    output.write_text("large")
    before = queue_db.store.events.last_seq()
    queue_db.queue.remove([id])
    assert queue_db.store.tasks.get(id) is None
    assert not output.exists()
    assert queue_db.store.events.last_seq() == before
    with pytest.raises(NotFound):
        queue_db.queue.remove([id])


def test_removed_task_is_in_the_batch_of_its_session(queue_db):
    id = queue_db.launch(command=("true",), concurrency_key="k", parent_session_id="p", description="gone")
    claimed = queue_db.claim("k", 0)
    queue_db.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=TaskStatus.COMPLETED))
    queue_db.queue.remove([id])
    (_, batch), *others = queue_db.store.events.unread_batches("p", "default", 10)
    assert [task["description"] for task in batch["tasks"]] == ["gone"]
    assert (others, queue_db.store.events.count_unbatched()) == ([], 0)


def test_remove_deletes_all_or_none(queue_db):
    done, running = queue_db.launch(command=("true",)), queue_db.launch(command=("true",))
    queue_db.queue.cancel(done)
    queue_db.claim("command", 0)
    for ids, error in (([done, running], MoveNotAllowed), ([done, UNKNOWN], NotFound)):
        with pytest.raises(error):
            queue_db.queue.remove(ids)
    assert queue_db.get(done).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("parent", [None, "p"])
def test_attempts_are_read_from_the_log(queue_db, parent):
    other = queue_db.launch(command=("true",), concurrency_key="o", parent_session_id=parent)
    queue_db.claim("o", 0)
    id = queue_db.launch(command=("true",), retries=1, parent_session_id=parent)
    assert queue_db.queue.attempts(id) == []
    for status in (TaskStatus.PENDING, TaskStatus.ERROR):
        claimed = queue_db.claim("command", 0)
        end = {"error": "no", "error_kind": "exit", "exit_code": 3}
        queue_db.queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status, **end))
    first, second = queue_db.queue.attempts(id)
    assert (first.number, first.status, first.error, first.error_kind) == (1, TaskStatus.ERROR, "no", "exit")
    assert (second.number, second.status, second.exit_code) == (2, TaskStatus.ERROR, 3)
    assert first.started_at <= first.ended_at
    assert second.started_at <= second.ended_at
    (running,) = queue_db.queue.attempts(other)
    assert (running.status, running.ended_at) == (TaskStatus.RUNNING, None)


def test_attempts_stay_with_a_task_whose_session_was_adopted(queue_db):
    id = queue_db.launch(command=("true",), parent_session_id="old")
    queue_db.claim("command", 0)
    adopt(queue_db.store, "old", "new")
    assert [attempt.number for attempt in queue_db.queue.attempts(id)] == [1]
