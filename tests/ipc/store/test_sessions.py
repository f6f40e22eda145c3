"""Adoption of a session: its successor receives every unread batch and later end once."""

from __future__ import annotations

import json

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.event import BATCH, ENDED, MODEL
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.sessions import adopt
from tests.helpers.commands import backburner
from tests.helpers.queue_db import MANY, QueueDatabase


def batches(queue_db: QueueDatabase, parent: str, after: int = 0) -> list[dict]:
    """Return the batches of a session after a number."""
    return [json.loads(line.text) for line in queue_db.log.read(parent, after, MANY) if line.type == BATCH]


def reported(queue_db: QueueDatabase, parent: str, after: int = 0) -> list[str]:
    """Return the tasks in a session's batches after a number, each as many times as it is in one."""
    return [task["id"] for batch in batches(queue_db, parent, after) for task in batch["tasks"]]


def receive(queue_db: QueueDatabase, parent: str, consumer: str = MODEL) -> list[str]:
    """Return the tasks in the batches that a consumer has not acknowledged, and acknowledge them."""
    cursor = queue_db.log.cursor(parent, consumer)
    found = reported(queue_db, parent, cursor)
    if lines := queue_db.log.read(parent, cursor, MANY):
        queue_db.log.acknowledge(parent, consumer, lines[-1].seq)
    return found


def batched(queue_db: QueueDatabase, parent: str) -> str:
    """Run a task, and form a batch of it."""
    id = queue_db.run(parent_session_id=parent)
    assert queue_db.log.form_batch(parent, 5)
    return id


def test_successor_receives_unread_batches_and_the_former_session_none(queue_db):
    read = batched(queue_db, "P")
    assert receive(queue_db, "P") == [read]
    unread, waiting = batched(queue_db, "P"), queue_db.run(parent_session_id="P")
    assert adopt(queue_db.store, "P", "Q").notices == 2
    assert receive(queue_db, "Q") == [unread, waiting]
    assert receive(queue_db, "P") == []
    assert queue_db.log.unbatched() == {}


def test_later_ends_of_adopted_tasks_go_to_the_successor(queue_db):
    pending, running = queue_db.launch(parent_session_id="P", priority=-1), queue_db.launch(parent_session_id="P")
    claimed = queue_db.start(running)
    assert adopt(queue_db.store, "P", "Q").tasks == 2
    queue_db.settle(claimed)
    queue_db.settle(queue_db.start(pending))
    queue_db.log.form_batch("Q", 5)
    assert reported(queue_db, "Q") == [running, pending]
    assert reported(queue_db, "P") == []
    assert batches(queue_db, "Q")[0]["allComplete"] is True


def test_launch_for_the_former_session_belongs_to_the_successor(queue_db):
    adopt(queue_db.store, "P", "Q")
    assert queue_db.get(queue_db.launch(parent_session_id="P")).parent_session_id == "Q"


def test_adoptions_form_a_chain(queue_db):
    first = batched(queue_db, "P")
    adopt(queue_db.store, "P", "Q")
    second = queue_db.run(parent_session_id="Q")
    adopt(queue_db.store, "Q", "R")
    assert receive(queue_db, "R") == [first, second]
    assert {queue_db.get(queue_db.launch(parent_session_id=name)).parent_session_id for name in "PQR"} == {"R"}


def test_second_adoption_changes_nothing(queue_db):
    unread = batched(queue_db, "P")
    adopt(queue_db.store, "P", "Q")
    for _ in range(2):
        again = adopt(queue_db.store, "P", "Q")
        assert (again.tasks, again.notices) == (0, 0)
    assert reported(queue_db, "Q") == [unread]


def test_session_that_adopts_back_receives_everything_once(queue_db):
    first = batched(queue_db, "P")
    adopt(queue_db.store, "P", "Q")
    second = batched(queue_db, "Q")
    adopt(queue_db.store, "Q", "P")
    assert receive(queue_db, "P") == [first, second]
    assert receive(queue_db, "Q") == []
    assert {queue_db.get(queue_db.launch(parent_session_id=name)).parent_session_id for name in "PQ"} == {"P"}


def test_acknowledged_batch_is_not_delivered_again_to_the_same_consumer(queue_db):
    seen = batched(queue_db, "P")
    receive(queue_db, "P")
    queue_db.log.acknowledge("P", "slow", 1)  # the other consumer has read no batch yet
    unseen = batched(queue_db, "P")
    adopt(queue_db.store, "P", "Q")
    assert receive(queue_db, "Q") == [unseen]
    assert receive(queue_db, "Q", "slow") == [seen, unseen]


def test_adopted_batches_have_numbers_after_those_that_were_read(queue_db):
    unread = batched(queue_db, "P")
    own = batched(queue_db, "Q")
    last = batches(queue_db, "Q")[-1]["seq"]
    adopt(queue_db.store, "P", "Q")
    assert reported(queue_db, "Q", last) == [unread]
    assert receive(queue_db, "Q") == [own, unread]


def test_last_adopted_batch_is_complete_if_no_task_is_left(queue_db):
    batched(queue_db, "P")
    batched(queue_db, "P")
    own = queue_db.launch(parent_session_id="Q")
    adopt(queue_db.store, "P", "Q")
    assert [batch["allComplete"] for batch in batches(queue_db, "Q")] == [False, False]
    queue_db.queue.cancel(own)
    adopt(queue_db.store, "Q", "R")
    assert [batch["allComplete"] for batch in batches(queue_db, "R")] == [False, False, True]


def test_adoption_repeats_no_end_in_the_log_of_all_sessions(queue_db):
    id = queue_db.run(parent_session_id="P")
    adopt(queue_db.store, "P", "Q")
    ends = [line for line in queue_db.log.read(None, 0, MANY) if line.type == ENDED]
    assert [json.loads(line.text)["taskId"] for line in ends] == [id]


@pytest.mark.parametrize(("parent", "successor", "field"), [("P", "P", "to"), ("*", "P", "from"), ("P", "*", "to")])
def test_invalid_adoption_is_refused(queue_db, parent, successor, field):
    with pytest.raises(InvalidInput) as refusal:
        adopt(queue_db.store, parent, successor)
    assert refusal.value.field == field


def test_ends_batched_before_an_adoption_are_delivered_once(queue_db, home):
    ids = [queue_db.run(parent_session_id="P") for _ in range(12)]
    queue_db.log.form_batch("P", 5)
    adopt(queue_db.store, "P", "Q")
    assert not queue_db.log.form_batch("P", 5)
    assert reported(queue_db, "Q") == ids


def test_adopt_command_prints_the_numbers_of_tasks_and_notifications(queue_db, home):
    batched(queue_db, "P")
    queue_db.queue.launch(LaunchInput(command=("true",), parent_session_id="P"))
    done = backburner(home, "adopt", "--from", "P", "--to", "Q")
    assert (done.returncode, done.stdout) == (0, "Q took over 2 tasks and 1 notification from P\n")
    assert backburner(home, "adopt", "--from", "P", "--to", "P").returncode == 2
