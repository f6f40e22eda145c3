from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from selectors import DefaultSelector

import pytest

from backburner.supervisor.pool.workers import Crew, Hand


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


def test_worker_that_died_before_its_birth_was_told_is_lost_once_and_watched_no_more(selector: DefaultSelector):
    lost: list[Hand] = []
    crew = Crew(selector, lambda *_: None, lost.append)
    ours, theirs = socket.socketpair()
    hand = crew.expect(ours)
    theirs.close()
    with subprocess.Popen(["true"]) as process:
        assert turn(selector, timeout=10) == 1
        crew.born(hand, process.pid)
        assert turn(selector, timeout=0.5) == 0  # a watched process that has ended would be reported for ever
    assert (lost, len(crew)) == ([hand], 0)
