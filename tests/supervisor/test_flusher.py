"""What the flusher does when the database cannot be written or read just then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ipc.errors import Temporary
from ipc.log import Log
from supervisor.flusher import Flusher
from tests.helpers.yard import Yard

ENDS = 45


@pytest.fixture
def flusher(yard: Yard) -> Iterator[Flusher]:
    """One that has begun, in this process."""
    found = Flusher(yard.home)
    found.boot()
    yield found
    found.farewell()
    found._lock.release()
    found.selector.close()


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Have a method of the log's be refused the first time."""
    whole = getattr(Log, method)

    def refused(*arguments: Any) -> Any:
        monkeypatch.setattr(Log, method, whole)
        raise Temporary("The disk is full.")

    monkeypatch.setattr(Log, method, refused)


def test_no_end_is_forgotten_though_a_batch_could_not_be_formed(yard: Yard, flusher: Flusher, monkeypatch):
    ids = [yard.run(parent_session_id="P") for _ in range(ENDS)]
    fail_once(monkeypatch, "form_batch")
    with pytest.raises(Temporary):
        flusher.turn()
    flusher._outbox.flush_all()
    batches = [json.loads(line.text) for line in yard.log.read("P", 0, 1000) if line.type == "background_tasks_batch"]
    assert [task["id"] for batch in batches for task in batch["tasks"]] == ids


def test_what_could_not_be_read_is_told_in_the_next_turn(yard: Yard, flusher: Flusher, monkeypatch):
    flusher.turn()
    yard.run(parent_session_id="P")
    flusher._stirred = False  # the hint was lost
    fail_once(monkeypatch, "page")
    with pytest.raises(Temporary):
        flusher.turn()
    flusher.turn()
    assert flusher._seq == yard.log.last_seq()
