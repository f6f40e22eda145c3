"""An answer of a tool is at most 20 KB, its cut parts are marked, and it names the way to the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.integrations.caller import SessionResolver
from backburner.supervisor.integrations.mcp_answers import MAX_ANSWER, error_text, size
from backburner.supervisor.integrations.mcp_tools import ToolService
from tests.helpers.queue_db import QueueDatabase

HOSTILE = ["x", '"', "\\", "\x01", "\n", "\u2028", "日", "\U0001f600"]


@pytest.fixture
def service(queue_db: QueueDatabase) -> Iterator[ToolService]:
    """The tools in a state directory without a supervisor."""
    service = ToolService(queue_db.home, SessionResolver({}, "/"))
    yield service
    if service.store is not None:
        service.store.close()


def call(service: ToolService, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool for the session S. Its answer must have the allowed size."""
    answer = asyncio.run(service.call(name, service.check(name, arguments), "S"))
    assert size(answer) <= MAX_ANSWER, name
    return answer


def fill(queue_db: QueueDatabase, text: str, count: int = 1) -> list[str]:
    """Launch and end tasks whose fields are as long as possible, and return their IDs."""
    ids = []
    for _ in range(count):
        id = queue_db.launch(
            parent_session_id="S",
            command=(text * 3000,) * 5,
            description=text * 5000,
            metadata={"a": text * 5000},
            unique_key=text * 256,
            model=text * 256,
            concurrency_key="k",
            tags=tuple(f"{number:064}" for number in range(16)),
        )
        queue_db.settle(queue_db.start(id, "k"), TaskStatus.ERROR, error=text * 5000, result=text * 5000)
        ids.append(id)
    return ids


@pytest.mark.parametrize("letter", HOSTILE)
def test_every_answer_has_a_maximum_size(queue_db, service, letter):
    (id,) = fill(queue_db, letter)
    queue_db.launch(parent_session_id="S", description=letter * 9000, after_any=(id,) * 90)
    assert len(call(service, "list")["tasks"]) == 2
    assert "hint" in call(service, "wait", ids=[id])
    (unfinished,) = call(service, "inbox")["unfinished"]
    cancelled = call(service, "cancel", id=unfinished["id"])
    assert cancelled["status"] == "cancelled"
    assert unfinished["id"] in cancelled["hint"]


def test_list_continues_after_the_last_task_that_fits(queue_db, service):
    ids = fill(queue_db, "word ", 30)
    found: list[str] = []
    cursor = None
    while True:
        page = call(service, "list", limit=1000, cursor=cursor)
        found += [task["id"] for task in page["tasks"]]
        assert "show bg-" in page["hint"]
        cursor = page["next"]
        if cursor is None:
            break
        assert "`next`" in page["hint"]
    assert found == ids[::-1]


def test_wait_and_inbox_name_the_way_to_the_tasks_that_do_not_fit(queue_db, service):
    ids = fill(queue_db, "word ", 30)
    answer = call(service, "wait", ids=ids)
    assert answer["timedOut"] is False
    assert [task["id"] for task in answer["tasks"]] == ids[: len(answer["tasks"])] != ids
    assert "Not all tasks fit" in answer["hint"]
    for _ in range(40):
        queue_db.launch(parent_session_id="S", description="word " * 100)
    inbox = call(service, "inbox")
    assert 0 < len(inbox["unfinished"]) < 40
    assert "Not all tasks fit" in inbox["hint"]


def test_short_answers_have_no_hint(queue_db, service):
    id = queue_db.run(parent_session_id="S")
    for name in ("list", "inbox"):
        assert "hint" not in call(service, name)
    assert call(service, "wait", ids=[id]).keys() == {"tasks", "timedOut"}


@pytest.mark.parametrize("letter", ["x", "\n", "\x01", "\x00", "é", "日", "\U0001f600"])
@pytest.mark.parametrize("limit", [1, 3, 5, 1000, 10**6])
def test_output_is_read_in_whole_characters(queue_db, service, letter, limit):
    text = letter * (12 if limit < 1000 else 9000)
    id = queue_db.launch(parent_session_id="S")
    claimed = queue_db.start(id)
    path = queue_db.home.output(claimed.claim, "stdout")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    found, offset = "", 0
    while offset < len(text.encode()):
        answer = call(service, "output", id=id, offset=offset, limit=limit)
        assert answer["offset"] > offset
        found, offset = found + answer["data"], answer["offset"]
    assert found == text


def test_output_from_within_a_character_begins_with_the_next_one(queue_db, service):
    id = queue_db.launch(parent_session_id="S")
    path = queue_db.home.output(queue_db.start(id).claim, "stdout")
    path.parent.mkdir(exist_ok=True)
    path.write_text("日本x")
    assert [call(service, "output", id=id, offset=offset)["data"] for offset in range(7)] == [
        *("日本x", "本x", "本x", "本x", "x", "x", "x")
    ]


def test_error_message_has_a_maximum_length_and_no_lone_surrogates():
    text = error_text(InvalidInput("a\udce9" + "x" * 9000))
    assert text.startswith("a\\udce9x")
    assert len(text) < 2100
    json.dumps(text).encode()
