"""Parked workers, for which a launch claims its task."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from backburner.ipc.model.claim import Slot, Step, Taken
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store import parking
from backburner.ipc.store.interface import QueueStore
from backburner.ipc.store.parking import decode_message, pipe_of
from tests.helpers.queue_db import QueueDatabase

SLOT = Slot("command", 0)


@pytest.fixture
def pipe(queue_db: QueueDatabase) -> Iterator[int]:
    """Open the pipe of the worker for reading."""
    queue_db.home.create_wake_pipe(pipe_of(queue_db.owner))
    descriptor = os.open(queue_db.home.folder / f"{pipe_of(queue_db.owner)}.wake", os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def slots(queue_db: QueueDatabase) -> QueueStore:
    """Park the only worker; return the store's queue, which has its slot."""
    queue_db.groups.limit("command", 2)
    assert park(queue_db)
    return queue_db.store.queue


def park(queue_db: QueueDatabase, slot: Slot = SLOT) -> bool:
    """Let the worker look for a task in a slot; return True if it was parked."""
    taken, parked, _ = queue_db.queue.advance(Step(slot, queue_db.owner, count=1))
    assert taken == []
    return parked


def launched(queue_db: QueueDatabase, **fields: object) -> TaskStatus:
    """Launch a task; return its status."""
    return queue_db.get(queue_db.launch(**fields)).status


def test_launch_claims_for_a_parked_worker(queue_db: QueueDatabase, slots: QueueStore, pipe: int):
    id = queue_db.launch(env={"A": "é"}, timeout_ms=1000)
    task, found = queue_db.get(id), slots.assigned(queue_db.owner)
    assert (task.status, task.attempt, task.slot, slots.parked()) == (TaskStatus.RUNNING, 1, 0, {})
    assert found is not None
    assert decode_message(os.read(pipe, 65536).strip()).claimed() == found.claimed()
    assert "background_task_started" in queue_db.event_types()


def test_claim_for_a_parked_worker_is_settled_as_any_other(queue_db: QueueDatabase, slots: QueueStore):
    queue_db.launch()
    found = slots.assigned(queue_db.owner)
    assert queue_db.settle(found.claimed()) == TaskStatus.COMPLETED
    assert park(queue_db)
    assert launched(queue_db) is TaskStatus.RUNNING


def test_second_launch_waits_for_a_slot(queue_db: QueueDatabase, slots: QueueStore):
    assert [launched(queue_db), launched(queue_db)] == [TaskStatus.RUNNING, TaskStatus.PENDING]


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_ms": 60_000},
        {"concurrency_key": "other"},
        {"agent": "external", "concurrency_key": "command", "prompt": "p"},
    ],
    ids=["delayed", "in another group", "external"],
)
def test_launch_that_no_parked_worker_can_run_stays_pending(
    queue_db: QueueDatabase, slots: QueueStore, fields: dict[str, object]
):
    assert launched(queue_db, **fields) is TaskStatus.PENDING
    assert slots.parked() == {queue_db.owner: SLOT}


def test_launch_does_not_overtake_a_ready_task(queue_db: QueueDatabase, slots: QueueStore):
    first = queue_db.queue.launch_many([LaunchInput(command=("true",))] * 2)
    assert launched(queue_db, priority=9) is TaskStatus.PENDING
    assert {queue_db.get(one.id).status for one in first} == {TaskStatus.PENDING}


def test_launch_into_a_paused_group_stays_pending(queue_db: QueueDatabase, slots: QueueStore):
    queue_db.groups.pause("command")
    assert launched(queue_db) is TaskStatus.PENDING


def test_launch_does_not_use_a_parked_slot_above_a_lowered_limit(queue_db: QueueDatabase, slots: QueueStore):
    assert slots.unpark(queue_db.owner) and park(queue_db, Slot("command", 1))
    queue_db.groups.limit("command", 1)
    assert launched(queue_db) is TaskStatus.PENDING


def test_launch_keeps_to_the_limit_when_a_surplus_runs(queue_db: QueueDatabase, slots: QueueStore):
    queue_db.start(queue_db.queue.launch_many([LaunchInput(command=("true",))] * 2)[0].id, slot=1)
    queue_db.groups.limit("command", 1)
    assert launched(queue_db) is TaskStatus.PENDING


def test_launch_whose_dependency_has_failed_takes_no_parked_slot(queue_db: QueueDatabase, slots: QueueStore):
    for owner in slots.parked():
        slots.unpark(owner)
    bad = queue_db.run(TaskStatus.ERROR)
    assert park(queue_db)
    assert launched(queue_db, after=(bad,)) is TaskStatus.ERROR
    assert slots.parked() == {queue_db.owner: SLOT}


def test_worker_is_not_parked_while_a_task_is_ready_in_a_group_it_cannot_run(queue_db: QueueDatabase):
    queue_db.launch(agent="external", prompt="p", concurrency_key="command")
    assert not park(queue_db)


def test_worker_is_not_parked_in_a_paused_group_or_above_the_limit(queue_db: QueueDatabase):
    queue_db.groups.limit("command", 1)
    assert not park(queue_db, Slot("command", 1))
    queue_db.groups.pause("command")
    assert not park(queue_db)


def test_parking_twice_parks_once(queue_db: QueueDatabase, slots: QueueStore):
    assert park(queue_db)
    assert slots.parked() == {queue_db.owner: SLOT}


def test_launch_and_unpark_never_both_get_the_slot(queue_db: QueueDatabase, slots: QueueStore):
    assert slots.unpark(queue_db.owner)
    assert launched(queue_db) is TaskStatus.PENDING
    assert slots.assigned(queue_db.owner) is None
    queue_db.settle(queue_db.claim())
    assert park(queue_db)
    assert launched(queue_db) is TaskStatus.RUNNING
    assert not slots.unpark(queue_db.owner)


def test_deregistered_worker_is_not_parked(queue_db: QueueDatabase, slots: QueueStore):
    queue_db.store.hosts.deregister(queue_db.owner)
    assert slots.parked() == {}
    assert launched(queue_db) is TaskStatus.PENDING


def test_launch_wakes_the_supervisor_when_the_parked_worker_is_dead(queue_db: QueueDatabase, slots: QueueStore):
    supervisor = os.open(queue_db.home.folder / "supervisor.wake", os.O_RDWR | os.O_NONBLOCK)
    assert launched(queue_db) is TaskStatus.RUNNING
    assert os.read(supervisor, 100) == b"\n"
    os.close(supervisor)


def test_large_task_only_wakes_the_worker(queue_db: QueueDatabase, slots: QueueStore, pipe: int):
    queue_db.launch(command=("echo", "x" * parking.MESSAGE_LIMIT))
    assert os.read(pipe, 65536) == b"\n"
    assert len(slots.assigned(queue_db.owner).claimed().command[1]) == parking.MESSAGE_LIMIT


@pytest.mark.parametrize("damage", [b"", b"x", b"1 []", b"12"], ids=["empty", "no message", "wrong sum", "no body"])
def test_damaged_message_is_no_task(damage: bytes):
    assert decode_message(damage) is None


def test_incomplete_message_is_no_task(queue_db: QueueDatabase, slots: QueueStore, pipe: int):
    queue_db.launch()
    message = os.read(pipe, 65536).strip()
    assert isinstance(decode_message(message), Taken)
    assert decode_message(message[:-1]) is None
    assert decode_message(message[:-20] + message) is None
