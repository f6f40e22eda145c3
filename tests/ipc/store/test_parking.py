from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from backburner.ipc.model.claim import Slot, Step, Taken
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store import parking
from backburner.ipc.store.interface import QueueStore
from backburner.ipc.store.parking import pipe_of, received
from tests.helpers.yard import Yard

SLOT = Slot("command", 0)


@pytest.fixture
def pipe(yard: Yard) -> Iterator[int]:
    """The pipe of the yard's worker, open for reading."""
    yard.home.create_wake_pipe(pipe_of(yard.owner))
    descriptor = os.open(yard.home.folder / f"{pipe_of(yard.owner)}.wake", os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def slots(yard: Yard) -> QueueStore:
    """The parked slots of a home whose only worker is parked."""
    yard.groups.limit("command", 2)
    assert park(yard)
    return yard.database.queue


def park(yard: Yard, slot: Slot = SLOT) -> bool:
    """Have the yard's worker look for a task in a slot; return True if it is parked then."""
    taken, parked, _ = yard.queue.advance(Step(slot, yard.owner, count=1))
    assert taken == []
    return parked


def launched(yard: Yard, **fields: object) -> TaskStatus:
    """Launch a task; return its status."""
    return yard.get(yard.launch(**fields)).status


def test_launch_claims_for_a_parked_worker(yard: Yard, slots: QueueStore, pipe: int):
    id = yard.launch(env={"A": "é"}, timeout_ms=1000)
    task, found = yard.get(id), slots.assigned(yard.owner)
    assert (task.status, task.attempt, task.slot, slots.parked()) == (TaskStatus.RUNNING, 1, 0, {})
    assert found is not None
    assert received(os.read(pipe, 65536).strip()).claimed() == found.claimed()
    assert "background_task_started" in yard.told()


def test_claim_for_a_parked_worker_is_settled_as_any_other(yard: Yard, slots: QueueStore):
    yard.launch()
    found = slots.assigned(yard.owner)
    assert yard.settle(found.claimed()) == TaskStatus.COMPLETED
    assert park(yard)
    assert launched(yard) is TaskStatus.RUNNING


def test_second_launch_waits_for_a_slot(yard: Yard, slots: QueueStore):
    assert [launched(yard), launched(yard)] == [TaskStatus.RUNNING, TaskStatus.PENDING]


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_ms": 60_000},
        {"concurrency_key": "other"},
        {"agent": "external", "concurrency_key": "command", "prompt": "p"},
    ],
    ids=["delayed", "in another group", "external"],
)
def test_launch_that_no_parked_worker_can_run_stays_pending(yard: Yard, slots: QueueStore, fields: dict[str, object]):
    assert launched(yard, **fields) is TaskStatus.PENDING
    assert slots.parked() == {yard.owner: SLOT}


def test_launch_does_not_overtake_a_ready_task(yard: Yard, slots: QueueStore):
    first = yard.queue.launch_many([LaunchInput(command=("true",))] * 2)
    assert launched(yard, priority=9) is TaskStatus.PENDING
    assert {yard.get(one.id).status for one in first} == {TaskStatus.PENDING}


def test_launch_into_a_paused_group_stays_pending(yard: Yard, slots: QueueStore):
    yard.groups.pause("command")
    assert launched(yard) is TaskStatus.PENDING


def test_launch_does_not_use_a_parked_slot_above_a_lowered_limit(yard: Yard, slots: QueueStore):
    assert slots.unpark(yard.owner) and park(yard, Slot("command", 1))
    yard.groups.limit("command", 1)
    assert launched(yard) is TaskStatus.PENDING


def test_launch_keeps_to_the_limit_when_a_surplus_runs(yard: Yard, slots: QueueStore):
    yard.start(yard.queue.launch_many([LaunchInput(command=("true",))] * 2)[0].id, slot=1)
    yard.groups.limit("command", 1)
    assert launched(yard) is TaskStatus.PENDING


def test_launch_whose_dependency_has_failed_takes_no_parked_slot(yard: Yard, slots: QueueStore):
    for owner in slots.parked():
        slots.unpark(owner)
    bad = yard.run(TaskStatus.ERROR)
    assert park(yard)
    assert launched(yard, after=(bad,)) is TaskStatus.ERROR
    assert slots.parked() == {yard.owner: SLOT}


def test_worker_is_not_parked_while_a_task_is_ready_in_a_group_it_cannot_run(yard: Yard):
    yard.launch(agent="external", prompt="p", concurrency_key="command")
    assert not park(yard)


def test_worker_is_not_parked_in_a_paused_group_or_above_the_limit(yard: Yard):
    yard.groups.limit("command", 1)
    assert not park(yard, Slot("command", 1))
    yard.groups.pause("command")
    assert not park(yard)


def test_parking_twice_is_parking_once(yard: Yard, slots: QueueStore):
    assert park(yard)
    assert slots.parked() == {yard.owner: SLOT}


def test_launch_and_unpark_cannot_both_have_the_slot(yard: Yard, slots: QueueStore):
    assert slots.unpark(yard.owner)
    assert launched(yard) is TaskStatus.PENDING
    assert slots.assigned(yard.owner) is None
    yard.settle(yard.claim())
    assert park(yard)
    assert launched(yard) is TaskStatus.RUNNING
    assert not slots.unpark(yard.owner)


def test_deregistered_worker_is_not_parked(yard: Yard, slots: QueueStore):
    yard.database.hosts.deregister(yard.owner)
    assert slots.parked() == {}
    assert launched(yard) is TaskStatus.PENDING


def test_launch_wakes_the_supervisor_when_the_parked_worker_is_dead(yard: Yard, slots: QueueStore):
    supervisor = os.open(yard.home.folder / "supervisor.wake", os.O_RDWR | os.O_NONBLOCK)
    assert launched(yard) is TaskStatus.RUNNING
    assert os.read(supervisor, 100) == b"\n"
    os.close(supervisor)


def test_large_task_only_wakes_the_worker(yard: Yard, slots: QueueStore, pipe: int):
    yard.launch(command=("echo", "x" * parking.MESSAGE_LIMIT))
    assert os.read(pipe, 65536) == b"\n"
    assert len(slots.assigned(yard.owner).claimed().command[1]) == parking.MESSAGE_LIMIT


@pytest.mark.parametrize("damage", [b"", b"x", b"1 []", b"12"], ids=["empty", "no message", "wrong sum", "no body"])
def test_damaged_message_is_no_task(damage: bytes):
    assert received(damage) is None


def test_torn_message_is_no_task(yard: Yard, slots: QueueStore, pipe: int):
    yard.launch()
    whole = os.read(pipe, 65536).strip()
    assert isinstance(received(whole), Taken)
    assert received(whole[:-1]) is None
    assert received(whole[:-20] + whole) is None
