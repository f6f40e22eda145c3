from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from backburner.ipc.model.claim import Assignment, Slot, Step, Taken
from backburner.ipc.store import parking
from backburner.supervisor.pool.parking import Parking
from tests.helpers.queue_db import QueueDatabase

#: Seconds; longer than a test.
LONG = 100.0


@pytest.fixture
def worker(queue_db: QueueDatabase) -> Iterator[Parking]:
    """A parked worker."""
    queue_db.groups.limit("command", 1)
    assert queue_db.queue.advance(Step(Slot("command", 0), queue_db.owner, count=1)).parked
    worker = Parking(queue_db.home, queue_db.store.queue, queue_db.owner, lambda: LONG)
    worker.start(LONG)
    yield worker
    os.close(worker.descriptor)


def claimed(queue_db: QueueDatabase, worker: Parking) -> Taken:
    """Launch a task, and return it as the worker receives it."""
    queue_db.launch()
    worker.read(0)
    taken = worker.find()
    assert taken is not None, "the launch has sent a message"
    return taken


def test_message_is_the_task_that_a_launch_claimed(queue_db: QueueDatabase, worker: Parking):
    taken = claimed(queue_db, worker)
    assert taken.claimed() == worker.assigned().claimed()
    assert worker.find() is None


def test_message_of_an_earlier_claim_is_ignored(queue_db: QueueDatabase, worker: Parking):
    taken = claimed(queue_db, worker)
    worker.last_claim = taken.claim
    assert parking.send(queue_db.home, Assignment(queue_db.owner, taken))
    worker.read(0)
    assert worker.find() is None


def test_message_is_ignored_while_the_worker_is_not_parked(queue_db: QueueDatabase, worker: Parking):
    worker.stop()
    queue_db.launch()
    worker.read(0)
    worker.start(LONG)
    assert worker.find() is None


def test_worker_looks_at_the_database_after_a_damaged_message(queue_db: QueueDatabase, worker: Parking):
    queue_db.launch()
    os.read(worker.descriptor, 65536)
    assert worker.find() is None
    assert queue_db.home.wake(parking.pipe_of(queue_db.owner), "damaged")
    worker.read(0)
    assert worker.find() is not None


def test_parked_slot_with_a_claimed_task_cannot_be_given_back(queue_db: QueueDatabase, worker: Parking):
    queue_db.launch()
    assert not worker.give_back()
    assert worker.assigned() is not None
