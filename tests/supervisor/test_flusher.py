from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import Temporary
from backburner.ipc.store.applied_config import apply_configuration
from backburner.ipc.store.sqlite.events import SqliteEvents
from backburner.supervisor.flusher import Flusher
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

ENDS = 45


@pytest.fixture
def flusher(queue_db: QueueDatabase) -> Iterator[Flusher]:
    """A flusher that has booted, in this process."""
    found = Flusher(queue_db.home)
    found.boot()
    yield found
    found.shutdown()
    found._lock.release()
    found.selector.close()


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Make a method of the event log fail once."""
    whole = getattr(SqliteEvents, method)

    def refused(*arguments: Any) -> Any:
        monkeypatch.setattr(SqliteEvents, method, whole)
        raise Temporary("The disk is full.")

    monkeypatch.setattr(SqliteEvents, method, refused)


def batches(queue_db: QueueDatabase, parent: str = "P") -> list[list[str]]:
    """Return the task IDs of each batch."""
    lines = [line for line in queue_db.log.read(parent, 0, 1000) if line.type == "background_tasks_batch"]
    return [[task["id"] for task in json.loads(line.text)["tasks"]] for line in lines]


def formed(queue_db: QueueDatabase, flusher: Flusher, count: int) -> list[list[str]]:
    """Run the flusher until this many tasks are in batches. Return their IDs by batch."""

    def found() -> list[list[str]] | None:
        flusher.turn()
        by_batch = batches(queue_db)
        return by_batch if sum(map(len, by_batch)) >= count else None

    return eventually(found) or []


@pytest.mark.parametrize("more", [0, 1])
def test_batches_that_could_not_be_formed_are_formed_later(
    queue_db: QueueDatabase, flusher: Flusher, monkeypatch, more: int
):
    ids = [queue_db.run(parent_session_id="P") for _ in range(ENDS + more)]
    fail_once(monkeypatch, "form_batches")
    with pytest.raises(Temporary):
        flusher.turn()
    assert batches(queue_db) == []
    assert [id for batch in formed(queue_db, flusher, ENDS + more) for id in batch] == ids


def test_due_batch_that_could_not_be_formed_is_formed_later(queue_db: QueueDatabase, flusher: Flusher, monkeypatch):
    ids = [queue_db.run(parent_session_id="P") for _ in range(2)]
    flusher.turn()
    fail_once(monkeypatch, "form_batches")
    with pytest.raises(Temporary):
        formed(queue_db, flusher, 2)
    assert formed(queue_db, flusher, 2) == [ids]


def test_full_batches_of_all_sessions_are_one_transaction(queue_db: QueueDatabase, flusher: Flusher, monkeypatch):
    calls: list[dict[str, int]] = []
    form_batches = SqliteEvents.form_batches
    monkeypatch.setattr(
        SqliteEvents, "form_batches", lambda log, ends, most: calls.append(ends) or form_batches(log, ends, most)
    )
    for parent in ("P", "Q"):
        for _ in range(7):
            queue_db.run(parent_session_id=parent)
    flusher.turn()
    assert calls == [{"P": 5, "Q": 5}]
    assert [len(batch) for batch in batches(queue_db)] == [5]
    assert flusher._window.waiting() == {"P": 2, "Q": 2}


def test_flushed_tasks_do_not_fill_the_next_batch(queue_db: QueueDatabase, flusher: Flusher):
    for _ in range(4):
        queue_db.run(parent_session_id="P")
    flusher._flush("P")
    queue_db.run(parent_session_id="P")
    flusher._is_hinted = True
    flusher.turn()
    assert [len(batch) for batch in batches(queue_db)] == [4]
    assert flusher._window.waiting() == {"P": 1}


def test_lower_maximum_forms_the_batches_that_are_full_now(queue_db: QueueDatabase, flusher: Flusher):
    for _ in range(4):
        queue_db.run(parent_session_id="P")
    flusher.turn()
    apply_configuration(queue_db.store, BackgroundConfig.of({"notification_max_batch": 2}), ())
    flusher._receive_hints(b"configure\n")
    flusher.turn()
    assert [len(batch) for batch in batches(queue_db)] == [2, 2]


def test_events_that_could_not_be_read_are_published_in_the_next_turn(
    queue_db: QueueDatabase, flusher: Flusher, monkeypatch
):
    flusher.turn()
    queue_db.run(parent_session_id="P")
    flusher._is_hinted = False  # the hint was lost
    fail_once(monkeypatch, "page")
    with pytest.raises(Temporary):
        flusher.turn()
    flusher.turn()
    assert flusher._seq == queue_db.log.last_seq()
