"""The published shapes describe what is really sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc import clock
from backburner.ipc.bus.protocol import (
    BRIEF_TASK,
    EVENTS,
    LAUNCHED,
    PARAMETERS,
    RESULTS,
    STATUS_DOCUMENT,
    TASK,
    document,
)
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Settlement, Slot
from backburner.ipc.model.edit import TaskEdit
from backburner.ipc.model.event import TYPES
from backburner.ipc.model.fields import camel
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import ERROR_KINDS, Task, TaskStatus
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.status import blank, status
from backburner.ipc.validation import DIALECT


@pytest.fixture
def queue(home: Path) -> Iterator[Queue]:
    database = SqliteStore(Home(home).prepare())
    yield Queue(database, DEFAULT_BACKGROUND_CONFIG)
    database.close()


def fill(queue: Queue) -> Task:
    """Cause each type of event once. Return a running task."""
    everything: dict[str, Any] = {
        "prompt": "p",
        "call": "json:dumps",
        "args": (1,),
        "kwargs": {"a": None},
        "metadata": {"b": [True]},
        "parent_session_id": "me",
        "concurrency_key": "k",
        "timeout_ms": 1,
        "retries": 1,
    }
    for status_ in (TaskStatus.PENDING, TaskStatus.ERROR, TaskStatus.COMPLETED):
        queue.launch(LaunchInput(**everything) if status_ is TaskStatus.ERROR else _external("me"))
        claimed = queue.claim(Slot("k", 0), None) or queue.claim(Slot("external", 0), None)
        if claimed is None:
            continue
        queue.record_stale(claimed.number, claimed.claim, 5)
        queue.record_progress(claimed.number, claimed.claim, "half")
        error = {"error": "no", "error_kind": "failed"} if status_ is not TaskStatus.COMPLETED else {}
        queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status_, **error))
    queue.store.events.form_batch("me", 5)
    delayed = queue.launch(_external(None, delay_ms=60_000)).id
    queue.edit(delayed, TaskEdit(priority=1))
    queue.launch(_external(None))
    claimed = queue.claim(Slot("external", 0), None)
    assert claimed is not None
    return queue.get(claimed.id)


def _external(parent: str | None, **fields: Any) -> LaunchInput:
    return LaunchInput(agent="external", prompt="p", parent_session_id=parent, **fields)


def test_tasks_match_their_published_shape(queue: Queue):
    fill(queue)
    for task in queue.list(Filter()).tasks:
        assert BRIEF_TASK.mistakes(task.brief()) == []
        assert TASK.mistakes(queue.get(task.id).to_json()) == []
        assert LAUNCHED.mistakes(task.to_json() | {"existing": False}) == []


def test_published_task_has_every_field():
    assert set(TASK.fields) == {camel(one.name) for one in fields(Task)}


def test_events_match_their_published_shape(queue: Queue):
    fill(queue)
    seen = set()
    for line in queue.store.events.read(None, 0, 1000):
        event = json.loads(line.text)
        assert EVENTS[event["type"]].mistakes(event) == [], event
        seen.add(event["type"])
    assert seen == set(TYPES) - {"log_truncated"}


def test_every_event_type_is_published():
    assert set(EVENTS) == set(TYPES)


def test_status_matches_its_published_shape(queue: Queue):
    fill(queue)
    assert STATUS_DOCUMENT.mistakes(status(queue.store)) == []
    assert STATUS_DOCUMENT.mistakes(blank(queue.home)) == []


def test_document_describes_every_method_and_its_references_resolve():
    found = document()
    assert found["$schema"] == DIALECT
    assert set(found["methods"]) == set(PARAMETERS)
    assert set(RESULTS) == set(PARAMETERS)
    text = json.dumps(found)
    references = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert references <= set(found["$defs"])
    assert {"Task", "LaunchInput", "BackgroundConfig", "Event"} <= set(found["$defs"])
    assert found["$defs"]["LaunchInput"] == found["methods"]["launch"]["params"]
    assert set(found["$defs"]["Task"]["properties"]["errorKind"]["anyOf"][0]["enum"]) == set(ERROR_KINDS)


def test_times_match_their_published_pattern(queue: Queue):
    task = fill(queue)
    assert TASK.fields["queuedAt"].mistakes(clock.iso(round(task.queued_at.timestamp() * 1000))) == []
