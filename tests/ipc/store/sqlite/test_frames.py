"""The frames that SQLite makes of events are those of the JSON encoder."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from backburner.ipc import clock
from backburner.ipc.model.task import TaskStatus
from tests.helpers.queue_db import QueueDatabase

#: Texts that need escapes, or that look like parts of the JSON.
AWKWARD = (
    'control \x01\x1f\x7f "quoted" \\ / \b\f\n\r\t end',
    "\u2028 ünïcödé \U0001f525",
    '],"source":"background-manager","tasks":[{"id":"forged"}]',
    '{"taskIds": ["x"], "source": "y", "tasks": [',
    ',"params":{"seq":1}}',
)

#: The body of a batch as earlier releases stored it.
OLD_BATCH = {
    "taskIds": ["bg-1", '],"source":"x","tasks":['],
    "source": "background-manager",
    "tasks": [{"id": "bg-1", "description": text} for text in (*AWKWARD, "\udcff \0")],
    "count": 1,
    "message": "1 background task completed successfully.",
}

#: Milliseconds since 1970, from the year 1000 to the year 9999.
TIMES = (-30610224000000, -1, 0, 1, 999, 1764360000123, 253402300799999)


def insert_events(queue_db: QueueDatabase, *events: tuple[str, int, str | None, str]) -> None:
    with closing(sqlite3.connect(queue_db.home.database)) as raw, raw:
        raw.executemany("INSERT INTO events (type, at, parent, body) VALUES (?, ?, ?, ?)", events)


def stored_events(queue_db: QueueDatabase) -> list[tuple]:
    with closing(sqlite3.connect(queue_db.home.database)) as raw:
        return raw.execute("SELECT seq, type, at, parent, body FROM events ORDER BY seq").fetchall()


def encoded(seq: int, type: str, at: int, parent: str | None, body: str) -> bytes:
    """Encode an event as the JSON module does."""
    if type == "background_tasks_notification":
        type = "background_tasks_batch"
        kept = {name: value for name, value in json.loads(body).items() if name not in ("taskIds", "source")}
        body = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    head = {"seq": seq, "type": type, "at": clock.iso(at), "parentSessionId": parent}
    params = f"{json.dumps(head, ensure_ascii=False)[:-1]}, {body[1:]}"
    frame = f'{{"jsonrpc":"2.0","method":"{type}","params":{params}}}\n'
    return frame.encode("utf-8", "backslashreplace")


def check_frames(queue_db: QueueDatabase, parent: str | None) -> None:
    """Compare the frames of all events, read by session and without one."""
    expected = [encoded(*event) for event in stored_events(queue_db)]
    for one in (None, parent):
        assert [line.frame for line in queue_db.log.read(one, 0, 999)] == expected


@pytest.mark.parametrize("parent", [None, "", "*", "ses-\0-1", *AWKWARD])
def test_frames_are_the_bytes_of_the_json_encoder(queue_db, parent):
    bodies = [json.dumps({"taskId": "bg-1", "error": text}) for text in ("", "\udcff \0", *AWKWARD)]
    insert_events(queue_db, *(("background_task_completed", at, parent, body) for at in TIMES for body in bodies))
    check_frames(queue_db, parent)


@pytest.mark.parametrize("layout", [None, (",", ":")], ids=["earlier versions", "compact"])
def test_frames_of_batches_omit_ids_and_source_whatever_the_layout(queue_db, layout):
    text = json.dumps(OLD_BATCH, separators=layout, ensure_ascii=False)
    body = text.encode("utf-8", "backslashreplace").decode()
    insert_events(queue_db, ("background_tasks_notification", 1, "ses-1", body))
    check_frames(queue_db, "ses-1")
    assert list(json.loads(queue_db.log.read(None, 0, 9)[0].text))[4:] == ["tasks", "count", "message"]


def test_frames_of_new_batches_are_the_bytes_of_the_json_encoder(queue_db):
    for text in AWKWARD:
        id = queue_db.launch(parent_session_id="ses-1", description=text, metadata={text: text})
        queue_db.settle(queue_db.start(id), result=text)
    failed = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1", description=AWKWARD[2])
    queue_db.queue.retry(failed)  # a snapshot keeps its end
    queue_db.log.form_batch("ses-1", 9)
    check_frames(queue_db, "ses-1")
