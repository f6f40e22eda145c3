from __future__ import annotations

from itertools import count

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.store.sqlite.hosts import SqliteHosts
from backburner.supervisor.pool.reaper import Reaper
from backburner.supervisor.pool.workers import WorkerHandle
from tests.helpers.yard import Yard


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
def busy(yard: Yard) -> WorkerHandle:
    """A worker with a running task."""
    yard.launch()
    yard.claim()
    return WorkerHandle(owner=yard.owner)


def test_worker_without_a_task_is_free_at_once(yard: Yard, reaper: Reaper, fork_server: FakeForkServer):
    idle = WorkerHandle()
    reaper.add_gone(idle)
    assert list(reaper.take_gone(yard.database)) == [idle]
    assert (fork_server.sweeps, reaper.is_waiting) == ([], False)


def test_task_is_rescued_when_the_strays_are_gone(yard: Yard, reaper: Reaper, busy: WorkerHandle):
    table = yard.database.hosts
    reaper.add_gone(busy)
    assert list(reaper.take_gone(yard.database)) == []
    assert table.running()[0] in reaper
    assert not reaper.rescue_ready(yard.queue)
    reaper.receive({"swept": 1})
    assert reaper.rescue_ready(yard.queue)
    assert (table.running(), reaper.is_waiting) == ([], False)


def test_sweeps_are_repeated_for_a_new_fork_server(
    yard: Yard, reaper: Reaper, busy: WorkerHandle, fork_server: FakeForkServer
):
    reaper.add_gone(busy)
    assert list(reaper.take_gone(yard.database)) == []
    reaper.resubmit()
    reaper.receive({"swept": 1})
    assert not reaper.rescue_ready(yard.queue)
    reaper.receive({"swept": 2})
    assert reaper.rescue_ready(yard.queue)
    assert fork_server.sweeps == [1, 2]


def test_free_worker_is_not_forgotten_if_the_next_lookup_fails(yard: Yard, reaper: Reaper, monkeypatch):
    first, second = WorkerHandle(), WorkerHandle()
    reaper.add_gone(second)
    reaper.add_gone(first)
    freed = []

    def refuse(_table: SqliteHosts) -> None:
        raise Temporary("The disk is full.")

    with pytest.raises(Temporary):
        for worker in reaper.take_gone(yard.database):
            freed.append(worker)
            monkeypatch.setattr(SqliteHosts, "running", refuse)
    monkeypatch.undo()
    assert freed + list(reaper.take_gone(yard.database)) == [first, second]
