from __future__ import annotations

import json
from collections.abc import Iterator
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
from backburner.ipc.model.event import TYPES
from backburner.ipc.model.fields import camel
from backburner.ipc.model.launch import LaunchInput
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


def busy(queue: Queue) -> Task:
    """A home in which everything has happened once; its last task, which runs."""
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
        queue.launch(LaunchInput(**everything) if status_ is TaskStatus.ERROR else _outside("me"))
        claimed = queue.claim(Slot("k", 0), None) or queue.claim(Slot("external", 0), None)
        if claimed is None:
            continue
        queue.record_stale(claimed.number, claimed.claim, 5)
        queue.record_progress(claimed.number, claimed.claim, "half")
        error = {"error": "no", "error_kind": "failed"} if status_ is not TaskStatus.COMPLETED else {}
        queue.settle(Settlement(number=claimed.number, claim=claimed.claim, status=status_, **error))
    queue.store.events.form_batch("me", 5)
    queue.launch(_outside(None, delay_ms=60_000))
    queue.launch(_outside(None))
    claimed = queue.claim(Slot("external", 0), None)
    assert claimed is not None
    return queue.get(claimed.id)


def _outside(parent: str | None, **fields: Any) -> LaunchInput:
    return LaunchInput(agent="external", prompt="p", parent_session_id=parent, **fields)


def test_every_task_has_the_shape_that_is_promised(queue: Queue):
    busy(queue)
    from backburner.ipc.store.values import Filter

    for task in queue.list(Filter()).tasks:
        assert BRIEF_TASK.mistakes(task.brief()) == []
        assert TASK.mistakes(queue.get(task.id).to_json()) == []
        assert LAUNCHED.mistakes(task.to_json() | {"existing": False}) == []


def test_the_shape_of_a_task_names_every_field_of_it():
    from dataclasses import fields

    assert set(TASK.fields) == {camel(one.name) for one in fields(Task)}


def test_every_event_has_the_shape_that_is_promised(queue: Queue):
    busy(queue)
    seen = set()
    for line in queue.store.events.read(None, 0, 1000):
        event = json.loads(line.text)
        assert EVENTS[event["type"]].mistakes(event) == [], event
        seen.add(event["type"])
    assert seen == set(TYPES) - {"log_truncated"}


def test_every_type_of_event_is_described():
    assert set(EVENTS) == set(TYPES)


def test_the_status_has_the_shape_that_is_promised(queue: Queue):
    busy(queue)
    assert STATUS_DOCUMENT.mistakes(status(queue.store)) == []
    assert STATUS_DOCUMENT.mistakes(blank(queue.home)) == []


def test_the_document_describes_every_method_and_can_be_followed():
    found = document()
    assert found["$schema"] == DIALECT
    assert set(found["methods"]) == set(PARAMETERS)
    assert set(RESULTS) | {"unsubscribe"} == set(PARAMETERS)
    text = json.dumps(found)
    references = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert references <= set(found["$defs"])
    assert {"Task", "LaunchInput", "BackgroundConfig", "Event"} <= set(found["$defs"])
    assert found["$defs"]["LaunchInput"] == found["methods"]["launch"]["params"]
    assert set(found["$defs"]["Task"]["properties"]["errorKind"]["anyOf"][0]["enum"]) == set(ERROR_KINDS)


def test_times_are_told_as_the_schema_says(queue: Queue):
    task = busy(queue)
    assert TASK.fields["queuedAt"].mistakes(clock.iso(round(task.queued_at.timestamp() * 1000))) == []
