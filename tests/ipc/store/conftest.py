"""Fixtures of the store. Each test of this folder runs on every engine, through the Protocols of the store alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc import clock
from backburner.ipc.store.interface import Store
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.series import Series

#: The engines, each with the settings that choose it. Tests of one engine are in its own folder.
ENGINES: dict[str, dict[str, Any]] = {"sqlite": {}}

Opener = Callable[..., QueueDatabase]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings that choose an engine."""
    return ENGINES[request.param]


@pytest.fixture
def open_queue(home: Path, engine: dict[str, Any]) -> Opener:
    """Return a function that opens the queue of the test's home with further settings."""
    return partial(QueueDatabase, home, **engine)


@pytest.fixture
def queue_db(open_queue: Opener) -> Iterator[QueueDatabase]:
    """Open the queue of the test's home with default settings."""
    with open_queue() as found:
        yield found


@pytest.fixture
def store(queue_db: QueueDatabase) -> Store:
    """Return the store of the test's home."""
    return queue_db.store


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that moves the wall clock ahead by milliseconds."""
    passed = 0
    now = clock.now

    def move(milliseconds: int) -> None:
        nonlocal passed
        passed += milliseconds

    monkeypatch.setattr(clock, "now", lambda: now() + passed)
    return move


@pytest.fixture
def limited(open_queue: Opener) -> Iterator[QueueDatabase]:
    """Open a queue whose groups `one` and `two` have that many slots, and in which tasks expire after 50 s."""
    with open_queue(model_concurrency={"one": 1, "two": 2}, max_queue_wait_s=50) as found:
        found.groups.configure()
        yield found


@pytest.fixture
def series(limited: QueueDatabase) -> Series:
    """Take a series of three tasks of one session."""
    return Series(limited, 3, parent_session_id="ses-1")


@pytest.fixture
def publishing(series: Series, monkeypatch: pytest.MonkeyPatch) -> Series:
    """Take a series. When its worker is woken, it publishes: all tasks but the running one are returned."""

    def wake(*_: object) -> bool:
        if series.is_held(1):
            series.publish(current=series.taken[0])
        return True

    monkeypatch.setattr("backburner.ipc.store.processes.wake_process", wake)
    return series
