from __future__ import annotations

from itertools import count

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.store.sqlite.hosts import SqliteHosts
from backburner.supervisor.pool.reaper import Reaper
from backburner.supervisor.pool.workers import WorkerHandle
from tests.helpers.queue_db import QueueDatabase


class FakeForkServer:
    """Counts the sweeps that were ordered."""

    def __init__(self) -> None:
        self._tickets = count(1)
        self.sweeps: list[int] = []

    def sweep(self) -> int:
        self.sweeps.append(next(self._tickets))
        return self.sweeps[-1]


@pytest.fixture
def fork_server() -> FakeForkServer:
    return FakeForkServer()


@pytest.fixture
def reaper(fork_server: FakeForkServer) -> Reaper:
    return Reaper(fork_server)


@pytest.fixture
def busy(queue_db: QueueDatabase) -> WorkerHandle:
    """A worker with a running task."""
    queue_db.launch()
    queue_db.claim()
    return WorkerHandle(owner=queue_db.owner)


def test_worker_without_a_task_is_free_at_once(queue_db: QueueDatabase, reaper: Reaper, fork_server: FakeForkServer):
    idle = WorkerHandle()
    reaper.add_gone(idle)
    assert list(reaper.take_gone(queue_db.store)) == [idle]
    assert (fork_server.sweeps, reaper.is_waiting) == ([], False)


def test_task_is_rescued_when_the_strays_are_gone(queue_db: QueueDatabase, reaper: Reaper, busy: WorkerHandle):
    table = queue_db.store.hosts
    reaper.add_gone(busy)
    assert list(reaper.take_gone(queue_db.store)) == []
    assert table.running()[0] in reaper
    assert not reaper.rescue_ready(queue_db.queue)
    reaper.receive({"swept": 1})
    assert reaper.rescue_ready(queue_db.queue)
    assert (table.running(), reaper.is_waiting) == ([], False)


def test_sweeps_are_repeated_for_a_new_fork_server(
    queue_db: QueueDatabase, reaper: Reaper, busy: WorkerHandle, fork_server: FakeForkServer
):
    reaper.add_gone(busy)
    assert list(reaper.take_gone(queue_db.store)) == []
    reaper.resubmit()
    reaper.receive({"swept": 1})
    assert not reaper.rescue_ready(queue_db.queue)
    reaper.receive({"swept": 2})
    assert reaper.rescue_ready(queue_db.queue)
    assert fork_server.sweeps == [1, 2]


def test_free_worker_is_not_forgotten_if_the_next_lookup_fails(queue_db: QueueDatabase, reaper: Reaper, monkeypatch):
    first, second = WorkerHandle(), WorkerHandle()
    reaper.add_gone(second)
    reaper.add_gone(first)
    freed = []

    def refuse(_table: SqliteHosts) -> None:
        raise Temporary("The disk is full.")

    with pytest.raises(Temporary):
        for worker in reaper.take_gone(queue_db.store):
            freed.append(worker)
            monkeypatch.setattr(SqliteHosts, "running", refuse)
    monkeypatch.undo()
    assert freed + list(reaper.take_gone(queue_db.store)) == [first, second]
