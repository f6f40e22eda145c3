from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from selectors import DefaultSelector

import pytest

from backburner.supervisor.pool.workers import WorkerHandle, Workers


@pytest.fixture
def selector() -> Iterator[DefaultSelector]:
    with DefaultSelector() as selector:
        yield selector


def turn(selector: DefaultSelector, timeout: float = 0.0) -> int:
    """Handle what is ready; return how much was."""
    events = selector.select(timeout)
    for key, mask in events:
        key.data(mask)
    return len(events)


def test_worker_that_died_before_its_pid_arrived_is_reported_once(selector: DefaultSelector):
    gone: list[WorkerHandle] = []
    workers = Workers(selector, lambda *_: None, gone.append)
    ours, theirs = socket.socketpair()
    worker = workers.add(ours)
    theirs.close()
    with subprocess.Popen(["true"]) as process:
        assert turn(selector, timeout=10) == 1
        workers.spawned(worker, process.pid)
        assert turn(selector, timeout=0.5) == 0  # a process that has exited is ready for ever, if it is watched
    assert (gone, len(workers)) == ([worker], 0)
