from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc.model.claim import Ended, Settlement, Slot, Step, Taken
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.execution.journal import Journal, outcome_document
from backburner.supervisor.execution.outcome import Outcome
from backburner.supervisor.execution.output_files import OutputFiles
from backburner.supervisor.pool.recovery import rescue, rescue_worker
from tests.helpers.queue_db import QueueDatabase

DONE = outcome_document(Outcome(result="well", exit_code=0))


class DeadWorker:
    """A worker that died, the tasks that it had taken, its journal and its output files."""

    def __init__(self, queue_db: QueueDatabase) -> None:
        self._queue_db = queue_db
        self.journal = Journal(queue_db.home, queue_db.owner)
        self.files = OutputFiles(queue_db.home, queue_db.owner)
        self.taken: list[Taken] = []

    def take(self, count: int) -> list[Taken]:
        self.taken = self._queue_db.queue.take(Slot("command", 0), self._queue_db.owner, count)
        return self.taken

    def rescue(self) -> None:
        (running,) = self._queue_db.store.hosts.running()
        rescue(self._queue_db.queue, running, "SIGKILL")


@pytest.fixture
def worker(queue_db: QueueDatabase) -> Iterator[DeadWorker]:
    queue_db.groups.limit("command", 1)
    dead = DeadWorker(queue_db)
    yield dead
    os.close(dead.journal.descriptor)


def spawned(worker: DeadWorker) -> None:
    """Open the output, as a command does first."""
    os.close(os.open(worker.files.paths[0], os.O_WRONLY | os.O_TRUNC))


def outcomes(queue_db: QueueDatabase, ids: list[str]) -> list[tuple[str, str | None]]:
    return [(task.status.value, task.error_kind) for task in map(queue_db.get, ids)]


def test_tasks_of_a_series_are_settled_by_the_journal(queue_db: QueueDatabase, worker: DeadWorker):
    ids = [queue_db.launch() for _ in range(4)]
    first, second, third, _ = worker.take(4)
    for one in (first, second):
        worker.journal.note_start(one.claim)
        worker.journal.note_end(one.claim, DONE)
    worker.files.arm()
    worker.journal.note_start(third.claim)
    spawned(worker)
    worker.rescue()
    assert outcomes(queue_db, ids) == [("completed", None), ("completed", None), ("error", "lost"), ("pending", None)]
    assert queue_db.event_types().count("background_task_started") == 3


def test_command_noted_but_not_spawned_is_requeued(queue_db: QueueDatabase, worker: DeadWorker):
    ids = [queue_db.launch() for _ in range(2)]
    first, second = worker.take(2)
    worker.journal.note_start(first.claim)
    worker.journal.note_end(first.claim, DONE)
    worker.files.arm()
    worker.journal.note_start(second.claim)
    worker.rescue()
    assert outcomes(queue_db, ids) == [("completed", None), ("pending", None)]
    assert queue_db.get(ids[1]).attempt == 0


def test_start_noted_twice_does_not_prove_a_spawn(queue_db: QueueDatabase, worker: DeadWorker):
    id = queue_db.launch()
    (one,) = worker.take(1)
    worker.files.arm()
    for _ in range(2):  # the disk was full the first time
        worker.journal.note_start(one.claim)
    worker.rescue()
    assert outcomes(queue_db, [id]) == [("pending", "interrupted")]


def test_task_of_an_earlier_boot_reruns_only_if_it_has_retries(queue_db: QueueDatabase, worker: DeadWorker):
    ids = [queue_db.launch(), queue_db.launch(), queue_db.launch(retries=1)]
    worker.take(3)
    with closing(sqlite3.connect(queue_db.home.database)) as raw, raw:
        raw.execute("UPDATE processes SET boot = 'the boot before'")
    worker.rescue()
    assert outcomes(queue_db, ids) == [("error", "lost"), ("error", "lost"), ("pending", "lost")]


def test_task_published_after_the_lookup_is_rescued_too(queue_db: QueueDatabase, worker: DeadWorker):
    ids = [queue_db.launch() for _ in range(2)]
    (first,) = worker.take(1)
    (seen,) = queue_db.store.hosts.running()
    end = Settlement(number=first.number, claim=first.claim, status=TaskStatus.COMPLETED)
    step = Step(first.slot, queue_db.owner, [Ended(first, first.started_at, end)], count=1)
    (second,) = queue_db.queue.advance(step).taken
    worker.journal.note_start(second.claim)
    worker.journal.note_end(second.claim, DONE)
    rescue(queue_db.queue, seen, "SIGKILL")
    assert outcomes(queue_db, ids) == [("completed", None), ("completed", None)]


def test_output_is_kept_if_the_worker_died_between_two_renames(queue_db: QueueDatabase, worker: DeadWorker):
    id = queue_db.launch()
    (one,) = worker.take(1)
    worker.files.arm()
    worker.journal.note_start(one.claim)
    for path in worker.files.paths:
        Path(path).write_text("so far")
    os.rename(worker.files.paths[0], queue_db.home.output_name(one.claim, "stdout"))
    worker.rescue()
    assert [queue_db.queue.output(id, stream, 0, 100).data for stream in ("stdout", "stderr")] == [b"so far"] * 2


def test_held_call_of_a_worker_without_a_running_task_is_settled(queue_db: QueueDatabase, worker: DeadWorker):
    ids = [queue_db.launch(call="json:loads", concurrency_key="command") for _ in range(2)]
    first, second = worker.take(2)
    worker.files.remove()  # a worker that has run calls only has none
    worker.journal.note_start(second.claim)
    queue_db.settle(first.claimed())
    owner = next(one for one in queue_db.store.hosts.processes("worker") if one.number == queue_db.owner)
    rescue_worker(queue_db.queue, owner, "SIGKILL")
    assert outcomes(queue_db, ids) == [("completed", None), ("error", "lost")]
