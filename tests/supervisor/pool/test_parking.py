from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from backburner.ipc.model.claim import Slot, Step, Taken
from backburner.ipc.store import parking
from backburner.ipc.store.values import Assignment
from backburner.supervisor.pool.parking import Parking
from tests.helpers.yard import Yard

#: Seconds; longer than a test.
LONG = 100.0


@pytest.fixture
def worker(yard: Yard) -> Iterator[Parking]:
    """A parked worker."""
    yard.groups.limit("command", 1)
    assert yard.queue.advance(Step(Slot("command", 0), yard.owner, count=1)).parked
    worker = Parking(yard.home, yard.database.queue, yard.owner, lambda: LONG)
    worker.start(LONG)
    yield worker
    os.close(worker.descriptor)


def claimed(yard: Yard, worker: Parking) -> Taken:
    """Launch a task, and return it as the worker receives it."""
    yard.launch()
    worker.read(0)
    taken = worker.find()
    assert taken is not None, "the launch has sent a message"
    return taken


def test_message_is_the_task_that_a_launch_claimed(yard: Yard, worker: Parking):
    taken = claimed(yard, worker)
    assert taken.claimed() == worker.assigned().claimed()
    assert worker.find() is None


def test_message_of_an_earlier_claim_is_ignored(yard: Yard, worker: Parking):
    taken = claimed(yard, worker)
    worker.last_claim = taken.claim
    assert parking.send(yard.home, Assignment(yard.owner, taken))
    worker.read(0)
    assert worker.find() is None


def test_message_is_ignored_while_the_worker_is_not_parked(yard: Yard, worker: Parking):
    worker.stop()
    yard.launch()
    worker.read(0)
    worker.start(LONG)
    assert worker.find() is None


def test_worker_looks_at_the_database_after_a_damaged_message(yard: Yard, worker: Parking):
    yard.launch()
    os.read(worker.descriptor, 65536)
    assert worker.find() is None
    assert yard.home.wake(parking.pipe_of(yard.owner), "damaged")
    worker.read(0)
    assert worker.find() is not None


def test_slot_that_a_launch_has_taken_cannot_be_given_back(yard: Yard, worker: Parking):
    yard.launch()
    assert not worker.give_back()
    assert worker.assigned() is not None
