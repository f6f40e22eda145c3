from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from backburner.ipc.errors import Temporary
from backburner.ipc.store.sqlite.hosts import SqliteHosts
from backburner.supervisor.supervision.shutdown import Shutdown
from tests.helpers.queue_db import QueueDatabase


class FakeForkServer:
    """Notes what was ordered."""

    def __init__(self) -> None:
        self.lost = False
        self.orders: list[str] = []

    def dismiss(self) -> None:
        self.orders.append("dismiss")

    def reap(self) -> None:
        self.orders.append("reap")


@pytest.fixture
def fork_server() -> FakeForkServer:
    return FakeForkServer()


@pytest.fixture
def shutdown(queue_db: QueueDatabase, fork_server: FakeForkServer) -> Shutdown:
    """A shutdown that has begun, in a home without workers and flusher."""
    flusher: Any = SimpleNamespace(check_stopped=lambda: None, process=lambda: None)
    shutdown = Shutdown(queue_db.queue, [], fork_server, flusher)
    shutdown.begin(SimpleNamespace(unpark_all=lambda: None))
    return shutdown


def test_supervisor_exits_when_the_fork_server_is_gone(shutdown: Shutdown, fork_server: FakeForkServer):
    assert shutdown.rest() is None
    assert not shutdown.stop_roles()
    fork_server.lost = True
    assert shutdown.stop_roles()
    assert fork_server.orders == ["dismiss", "reap"]


def test_fork_server_is_stopped_although_running_tasks_cannot_be_logged(
    shutdown: Shutdown, fork_server: FakeForkServer, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_table: SqliteHosts) -> None:
        raise Temporary("The disk is full.")

    with monkeypatch.context() as patch, pytest.raises(Temporary):
        patch.setattr(SqliteHosts, "running", refuse)
        shutdown.stop_roles()
    assert not shutdown.stop_roles()
    assert fork_server.orders == ["dismiss"]


def test_running_tasks_are_interrupted_only_on_request(queue_db: QueueDatabase, shutdown: Shutdown):
    queue_db.launch()
    queue_db.claim()
    interrupts: list[None] = []
    shutdown.interrupt_tasks(lambda: interrupts.append(None))
    assert interrupts == []
    shutdown.end_trees(requeue=False)
    shutdown.interrupt_tasks(lambda: interrupts.append(None))
    shutdown.interrupt_tasks(lambda: interrupts.append(None))
    assert len(interrupts) == 1
