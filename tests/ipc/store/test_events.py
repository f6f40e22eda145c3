"""The event log, seen from its readers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.values import PAGE_BYTES, Filter
from tests.helpers.queue_db import QueueDatabase

#: Text that an encoder or a search in the JSON could get wrong.
AWKWARD = (
    'control \x01\x1f\x7f "quoted" \\ / \b\f\n\r\t end',
    "\u2028 ünïcödé \U0001f525",
    '],"source":"background-manager","tasks":[{"id":"forged"}]',
    '{"taskIds": ["x"], "source": "y", "tasks": [',
    ',"params":{"seq":1}}',
)

#: The body of a batch as earlier versions stored it.
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


def batches(queue_db: QueueDatabase, parent: str = "ses-1") -> list[dict]:
    return [
        json.loads(line.text) for line in queue_db.log.read(parent, 0, 999) if line.type == "background_tasks_batch"
    ]


def test_a_parent_reads_its_own_events_in_order_and_everybody_all(queue_db):
    first = queue_db.run(parent_session_id="ses-1")
    queue_db.run()
    queue_db.run(parent_session_id="ses-2")
    mine = queue_db.log.read("ses-1", 0, 99)
    assert [json.loads(line.text)["taskId"] for line in mine] == [first, first]
    every = queue_db.log.read(None, 0, 99)
    assert [line.seq for line in every] == [1, 2, 3, 4, 5, 6]
    assert [line.parent for line in every] == ["ses-1", "ses-1", None, None, "ses-2", "ses-2"]
    assert [line.seq for line in queue_db.log.read(None, 2, 3)] == [3, 4, 5]


def test_an_event_is_one_line_of_json_with_its_number_type_time_and_parent(queue_db):
    queue_db.run(parent_session_id="ses-1", description="two\nlines")
    for line in queue_db.log.read(None, 0, 9):
        assert "\n" not in line.text
        event = json.loads(line.text)
        assert (event["seq"], event["type"], event["parentSessionId"]) == (line.seq, line.type, "ses-1")
        assert event["at"].endswith("Z")


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
    queue_db.queue.retry(failed)  # its end is kept as a snapshot
    queue_db.log.form_batch("ses-1", 9)
    check_frames(queue_db, "ses-1")


def test_a_start_tells_the_attempt(queue_db):
    queue_db.run(parent_session_id="ses-1")
    event = json.loads(queue_db.log.read("ses-1", 0, 1)[0].text)
    assert event.keys() == {"seq", "type", "at", "parentSessionId", "taskId", "sessionId", "attempt"}
    assert event["attempt"] == 1


def test_staleness_is_told_once_per_attempt(queue_db):
    id = queue_db.launch(parent_session_id="ses-1", retries=1)
    claimed = queue_db.start(id)
    for idle in (5000, 6000):
        queue_db.queue.record_stale(claimed.number, claimed.claim, idle)
    queue_db.settle(claimed, TaskStatus.PENDING, error="no", error_kind="exit")
    again = queue_db.start(id)
    queue_db.queue.record_stale(claimed.number, claimed.claim, 7000)
    queue_db.queue.record_stale(again.number, again.claim, 8000)
    idles = [json.loads(line.text).get("idleMs") for line in queue_db.log.read("ses-1", 0, 99)]
    assert [idle for idle in idles if idle] == [5000, 8000]


def test_a_cursor_goes_forward_only_and_never_beyond_the_end(queue_db):
    queue_db.run(parent_session_id="ses-1")
    assert queue_db.log.cursor("ses-1", "default") == 0
    assert queue_db.log.acknowledge("ses-1", "default", 2) == 2
    assert queue_db.log.acknowledge("ses-1", "default", 1) == 2
    assert queue_db.log.cursor("ses-1", "default") == 2
    assert queue_db.log.cursor("ses-1", "model") == 0
    with pytest.raises(InvalidInput) as refusal:
        queue_db.log.acknowledge("ses-1", "default", 3)
    assert refusal.value.field == "seq"


def test_a_batch_holds_at_most_so_many_ends_oldest_first(queue_db):
    ids = [queue_db.run(parent_session_id="ses-1") for _ in range(7)]
    assert queue_db.log.unbatched()["ses-1"][0] == 7
    assert [queue_db.log.form_batch("ses-1", 5) for _ in range(3)] == [5, 2, 0]
    assert [[task["id"] for task in batch["tasks"]] for batch in batches(queue_db)] == [ids[:5], ids[5:]]
    assert [batch["count"] for batch in batches(queue_db)] == [5, 2]
    assert [batch["allComplete"] for batch in batches(queue_db)] == [False, True]
    assert queue_db.log.unbatched() == {}


def test_a_batch_of_large_tasks_ends_where_it_has_grown_long(queue_db):
    ids = [queue_db.run(parent_session_id="ses-1", metadata={"x": "y" * (PAGE_BYTES // 2)}) for _ in range(3)]
    assert [queue_db.log.form_batch("ses-1", 5) for _ in range(3)] == [2, 1, 0]
    assert [[task["id"] for task in batch["tasks"]] for batch in batches(queue_db)] == [ids[:2], ids[2:]]
    assert [batch["allComplete"] for batch in batches(queue_db)] == [False, True]


def test_batches_of_many_sessions_are_formed_together(queue_db):
    ids = {parent: [queue_db.run(parent_session_id=parent) for _ in range(7)] for parent in ("ses-1", "ses-2")}
    large = [queue_db.run(parent_session_id="ses-3", metadata={"x": "y" * (PAGE_BYTES // 2)}) for _ in range(3)]
    assert queue_db.log.form_batches({"ses-1": 5, "ses-2": 7, "ses-3": 3, "ses-4": 1}, 5) == 5
    formed = {
        n: [[task["id"] for task in batch["tasks"]] for batch in batches(queue_db, f"ses-{n}")] for n in (1, 2, 3, 4)
    }
    one, two = ids.values()
    assert formed == {1: [one[:5]], 2: [two[:5], two[5:]], 3: [large[:2], large[2:]], 4: []}
    assert queue_db.log.unbatched().keys() == {"ses-1"}


def test_a_page_of_large_events_ends_early_and_says_that_there_are_more(queue_db):
    for _ in range(3):
        queue_db.run(parent_session_id="ses-1", metadata={"x": "y" * (PAGE_BYTES * 2 // 3)})
        queue_db.log.form_batch("ses-1", 1)
    after, told = 0, 0
    is_all = False
    while not is_all:
        page, is_all = queue_db.log.page("ses-1", after, 100)
        assert sum(len(line.text) for line in page) < 2 * PAGE_BYTES
        told += sum(line.type == "background_tasks_batch" for line in page)
        after = page[-1].seq
    assert told == 3


def test_a_batch_tells_of_each_task_what_lists_show(queue_db):
    plain = queue_db.run(parent_session_id="ses-1")
    words = {
        "description": "two\nlines \u2028 of ünïcödé \U0001f525",
        "metadata": {'"deep"': [1.5, None, {"é": 2**53 - 1}]},
    }
    asked = {"after": (plain,), "priority": 3, "retries": 2, "timeout_ms": 1500, "unique_key": "one", **words}
    id = queue_db.launch(
        parent_session_id="ses-1", parent_message_id="m", model="big", concurrency_key="command", **asked
    )
    queue_db.queue.promote()
    queue_db.settle(queue_db.start(id), result="é" * 3000, session="s", leftovers=2, exit_code=0)
    queue_db.launch(parent_session_id="ses-1", delay_ms=60_000)
    queue_db.queue.cancel(queue_db.queue.unfinished("ses-1")[0])
    bad = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    shown = [task.brief() for task in queue_db.queue.with_inputs(Filter(parent="ses-1"))]
    queue_db.queue.retry(bad)
    queue_db.log.form_batch("ses-1", 5)
    told = batches(queue_db)[0]["tasks"]
    assert told == shown
    assert [list(task) for task in told] == [list(task) for task in shown]


def test_a_batch_counts_each_way_of_ending(queue_db):
    for status in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED, TaskStatus.COMPLETED):
        queue_db.run(status, parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 9)
    batch = batches(queue_db)[0]
    assert (batch["completedCount"], batch["failedCount"], batch["cancelledCount"]) == (2, 1, 1)
    assert batch["message"] == "4 background tasks finished: 2 completed, 1 failed, 1 cancelled."


def test_all_is_complete_when_no_task_of_the_parent_is_left_not_when_no_notice_waits(queue_db):
    queue_db.launch(parent_session_id="ses-1", priority=-1)
    queue_db.run(parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    queue_db.queue.cancel(queue_db.queue.unfinished("ses-1")[0])
    queue_db.log.form_batch("ses-1", 5)
    assert [batch["allComplete"] for batch in batches(queue_db)] == [False, True]


def test_parents_are_not_mixed(queue_db):
    one, two = queue_db.run(parent_session_id="ses-1"), queue_db.run(parent_session_id="ses-2")
    for parent in ("ses-1", "ses-2"):
        queue_db.log.form_batch(parent, 5)
    assert [batch["tasks"][0]["id"] for batch in (*batches(queue_db, "ses-1"), *batches(queue_db, "ses-2"))] == [
        one,
        two,
    ]


def test_tasks_without_a_parent_are_in_no_batch(queue_db):
    queue_db.run()
    assert queue_db.log.unbatched() == {}
    assert queue_db.log.count_unbatched() == 0


def test_a_replay_is_equal_whatever_became_of_the_tasks(queue_db):
    failed = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    before = [line.text for line in queue_db.log.read("ses-1", 0, 99)]
    queue_db.queue.retry(failed)
    queue_db.settle(queue_db.start(failed))
    assert [line.text for line in queue_db.log.read("ses-1", 0, 99)][: len(before)] == before


def test_lists_in_batches_come_without_the_inputs(queue_db):
    queue_db.launch(call="m:f", args=(1,), kwargs={"secret": 1}, parent_session_id="ses-1")
    queue_db.settle(queue_db.claim("python"))
    queue_db.log.form_batch("ses-1", 5)
    assert not {"prompt", "args", "kwargs", "env", "stdin"} & batches(queue_db)[0]["tasks"][0].keys()


def test_what_was_pruned_is_known_per_parent(queue_db):
    for parent in ("ses-1", "ses-2"):
        queue_db.run(parent_session_id=parent)
    with queue_db.database.write() as transaction:
        transaction.run("delete_events", {"seqs": "[1]"})
        transaction.run("record_truncation", {"parent": "ses-1", "seq": 1})
    assert queue_db.log.truncated("ses-1", 0) == 2
    assert queue_db.log.truncated("ses-1", 1) is None
    assert queue_db.log.truncated("ses-2", 0) is None


def test_the_log_has_a_name_that_stays(queue_db, home):
    name = queue_db.log.id()
    with QueueDatabase(home) as again:
        assert again.log.id() == name
