"""The event log: reading, cursors and batches."""

from __future__ import annotations

import json

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.event import BATCH
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.values import PAGE_BYTES
from tests.helpers.queue_db import QueueDatabase


def batches(queue_db: QueueDatabase, parent: str = "ses-1") -> list[dict]:
    return [json.loads(line.text) for line in queue_db.log.read(parent, 0, 999) if line.type == BATCH]


def test_events_are_read_in_order_by_session_or_all(queue_db):
    first = queue_db.run(parent_session_id="ses-1")
    queue_db.run()
    queue_db.run(parent_session_id="ses-2")
    mine = queue_db.log.read("ses-1", 0, 99)
    assert [json.loads(line.text)["taskId"] for line in mine] == [first, first]
    every = queue_db.log.read(None, 0, 99)
    assert [line.seq for line in every] == [1, 2, 3, 4, 5, 6]
    assert [line.parent for line in every] == ["ses-1", "ses-1", None, None, "ses-2", "ses-2"]
    assert [line.seq for line in queue_db.log.read(None, 2, 3)] == [3, 4, 5]


def test_event_is_one_line_of_json_with_number_type_time_and_session(queue_db):
    queue_db.run(parent_session_id="ses-1", description="two\nlines")
    for line in queue_db.log.read(None, 0, 9):
        assert "\n" not in line.text
        event = json.loads(line.text)
        assert (event["seq"], event["type"], event["parentSessionId"]) == (line.seq, line.type, "ses-1")
        assert event["at"].endswith("Z")


def test_event_of_a_start_has_the_attempt(queue_db):
    queue_db.run(parent_session_id="ses-1")
    event = json.loads(queue_db.log.read("ses-1", 0, 1)[0].text)
    assert event.keys() == {"seq", "type", "at", "parentSessionId", "taskId", "sessionId", "attempt"}
    assert event["attempt"] == 1


def test_staleness_is_reported_once_per_attempt(queue_db):
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


def test_cursor_moves_only_forward_and_not_beyond_the_end(queue_db):
    queue_db.run(parent_session_id="ses-1")
    assert queue_db.log.cursor("ses-1", "default") == 0
    assert queue_db.log.acknowledge("ses-1", "default", 2) == 2
    assert queue_db.log.acknowledge("ses-1", "default", 1) == 2
    assert queue_db.log.cursor("ses-1", "default") == 2
    assert queue_db.log.cursor("ses-1", "model") == 0
    with pytest.raises(InvalidInput) as refusal:
        queue_db.log.acknowledge("ses-1", "default", 3)
    assert refusal.value.field == "seq"


def test_batch_has_up_to_limit_ends_oldest_first(queue_db):
    ids = [queue_db.run(parent_session_id="ses-1") for _ in range(7)]
    assert queue_db.log.unbatched()["ses-1"][0] == 7
    assert [queue_db.log.form_batch("ses-1", 5) for _ in range(3)] == [5, 2, 0]
    assert [[task["id"] for task in batch["tasks"]] for batch in batches(queue_db)] == [ids[:5], ids[5:]]
    assert [batch["count"] for batch in batches(queue_db)] == [5, 2]
    assert [batch["allComplete"] for batch in batches(queue_db)] == [False, True]
    assert queue_db.log.unbatched() == {}


def test_batch_of_large_tasks_ends_at_its_size_limit(queue_db):
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


def test_page_of_large_events_ends_at_its_size_limit(queue_db):
    for _ in range(3):
        queue_db.run(parent_session_id="ses-1", metadata={"x": "y" * (PAGE_BYTES * 2 // 3)})
        queue_db.log.form_batch("ses-1", 1)
    after, count = 0, 0
    is_all = False
    while not is_all:
        page, is_all = queue_db.log.page("ses-1", after, 100)
        assert sum(len(line.text) for line in page) < 2 * PAGE_BYTES
        count += sum(line.type == BATCH for line in page)
        after = page[-1].seq
    assert count == 3


def test_batch_has_the_briefs_of_its_tasks(queue_db):
    plain = queue_db.run(parent_session_id="ses-1")
    texts = {
        "description": "two\nlines \u2028 of ünïcödé \U0001f525",
        "metadata": {'"deep"': [1.5, None, {"é": 2**53 - 1}]},
    }
    fields = {"after": (plain,), "priority": 3, "retries": 2, "timeout_ms": 1500, "unique_key": "one", **texts}
    id = queue_db.launch(
        parent_session_id="ses-1", parent_message_id="m", model="big", concurrency_key="command", **fields
    )
    queue_db.queue.promote()
    queue_db.settle(queue_db.start(id), result="é" * 3000, session="s", leftovers=2, exit_code=0)
    queue_db.launch(parent_session_id="ses-1", delay_ms=60_000)
    queue_db.queue.cancel(queue_db.queue.unfinished("ses-1")[0])
    bad = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    shown = [task.brief() for task in queue_db.queue.with_inputs(Filter(parent="ses-1"))]
    queue_db.queue.retry(bad)
    queue_db.log.form_batch("ses-1", 5)
    briefs = batches(queue_db)[0]["tasks"]
    assert briefs == shown
    assert [list(task) for task in briefs] == [list(task) for task in shown]


def test_batch_counts_each_status(queue_db):
    for status in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED, TaskStatus.COMPLETED):
        queue_db.run(status, parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 9)
    batch = batches(queue_db)[0]
    assert (batch["completedCount"], batch["failedCount"], batch["cancelledCount"]) == (2, 1, 1)
    assert batch["message"] == "4 background tasks finished: 2 completed, 1 failed, 1 cancelled."


def test_batch_is_complete_if_the_session_has_no_unfinished_task(queue_db):
    queue_db.launch(parent_session_id="ses-1", priority=-1)
    queue_db.run(parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    queue_db.queue.cancel(queue_db.queue.unfinished("ses-1")[0])
    queue_db.log.form_batch("ses-1", 5)
    assert [batch["allComplete"] for batch in batches(queue_db)] == [False, True]


def test_batch_has_tasks_of_one_session(queue_db):
    one, two = queue_db.run(parent_session_id="ses-1"), queue_db.run(parent_session_id="ses-2")
    for parent in ("ses-1", "ses-2"):
        queue_db.log.form_batch(parent, 5)
    assert [batch["tasks"][0]["id"] for batch in (*batches(queue_db, "ses-1"), *batches(queue_db, "ses-2"))] == [
        one,
        two,
    ]


def test_tasks_without_a_session_are_in_no_batch(queue_db):
    queue_db.run()
    assert queue_db.log.unbatched() == {}
    assert queue_db.log.count_unbatched() == 0


def test_events_are_unchanged_after_a_retry(queue_db):
    failed = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    before = [line.text for line in queue_db.log.read("ses-1", 0, 99)]
    queue_db.queue.retry(failed)
    queue_db.settle(queue_db.start(failed))
    assert [line.text for line in queue_db.log.read("ses-1", 0, 99)][: len(before)] == before


def test_batch_omits_the_inputs_of_tasks(queue_db):
    queue_db.launch(call="m:f", args=(1,), kwargs={"secret": 1}, parent_session_id="ses-1")
    queue_db.settle(queue_db.claim("python"))
    queue_db.log.form_batch("ses-1", 5)
    assert not {"prompt", "args", "kwargs", "env", "stdin"} & batches(queue_db)[0]["tasks"][0].keys()


def test_truncation_is_known_per_session(queue_db):
    for parent in ("ses-1", "ses-2"):
        queue_db.run(parent_session_id=parent)
    queue_db.store.maintenance.delete_events([1], {"ses-1": 1}, 0)
    assert queue_db.log.truncated("ses-1", 0) == 2
    assert queue_db.log.truncated("ses-1", 1) is None
    assert queue_db.log.truncated("ses-2", 0) is None


def test_log_id_is_stable(queue_db, open_queue):
    with open_queue() as other:
        assert other.log.id() == queue_db.log.id()
