"""Which tasks a list has, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.query import Filter, Moment, OneOrMore
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.validation import Text
from tests.helpers.queue_db import QueueDatabase


def listed(queue_db: QueueDatabase, **which: Any) -> list[str]:
    return [task.id for task in queue_db.queue.list(Filter(**which)).tasks]


def test_list_has_the_tasks_that_match_all_conditions(queue_db: QueueDatabase):
    named = queue_db.launch(description="Größe 100% sure", concurrency_key="build/docs")
    prompted = queue_db.launch(agent="external", prompt="first line\nREVIEW the parser_x")
    command = queue_db.launch(command=("sh", "-c", "make test; make_all"))
    queue_db.queue.cancel(named)
    assert listed(queue_db, key="build/docs") == [named]
    assert listed(queue_db, agent="external") == [prompted]
    assert listed(queue_db, text="review") == [prompted]
    assert listed(queue_db, text="-c make") == [command]
    assert listed(queue_db, text="100% s") == [named]
    assert listed(queue_db, text="r_x") == [prompted]
    assert listed(queue_db, text="%") == [named]
    assert listed(queue_db, text="größe", key="other") == []
    assert listed(queue_db, text="make", statuses=[TaskStatus.PENDING], agent="command") == [command]
    assert listed(queue_db, statuses=[TaskStatus.PENDING, TaskStatus.CANCELLED]) == [command, prompted, named]


def test_list_since_a_time_has_the_tasks_that_changed_then_or_later(queue_db: QueueDatabase):
    old, failed = queue_db.launch(), queue_db.launch(concurrency_key="b")
    queue_db.settle(queue_db.start(failed, "b"), TaskStatus.ERROR)
    queue_db.store._connection.execute("UPDATE tasks SET queued_at = queued_at - 60000, started_at = started_at - 9000")
    ended = queue_db.get(failed).completed_at
    assert ended is not None
    at = round(ended.timestamp() * 1000)
    assert listed(queue_db, since=at) == [failed]
    assert listed(queue_db, since=at - 90_000) == [failed, old]
    assert listed(queue_db, since=at + 1) == []


def test_tasks_of_a_pattern_are_listed_by_the_pattern(tmp_path: Path):
    with QueueDatabase(tmp_path, model_concurrency={"build/*": 2}) as database:
        ids = [database.launch(concurrency_key=f"build/{name}") for name in ("docs", "code")]
        database.launch(concurrency_key="other")
        assert listed(database, key="build/*") == ids[::-1]


def test_text_is_searched_in_the_newest_ten_thousand_tasks(queue_db: QueueDatabase):
    old = queue_db.launch(description="find me")
    template = queue_db.launch(description="find me too")
    copy(queue_db, template, 9998)
    assert old in listed(queue_db, text="find", limit=None)
    copy(queue_db, template, 1)
    assert len(listed(queue_db, text="find", limit=None)) == 10_000
    assert old not in listed(queue_db, text="find", limit=None)


def copy(queue_db: QueueDatabase, template: str, times: int) -> None:
    """Copy a task that many times without its input's columns, so quickly that thousands are no problem."""
    execute = queue_db.store._connection.execute
    columns = [row[1] for row in execute("PRAGMA table_info(tasks)") if row[1] not in ("number", "id")]
    names = ", ".join(columns)
    last = execute("SELECT max(number) FROM tasks").fetchone()[0]
    counter = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
    execute("BEGIN")
    execute(
        f"{counter} INSERT INTO tasks (number, id, {names}) SELECT ? + i, 'copy-' || (? + i), {names}"
        " FROM n, tasks WHERE id = ?",
        (times, last, last, template),
    )
    execute("INSERT INTO inputs (task, cwd) SELECT number, '/' FROM tasks WHERE number > ?", (last,))
    execute("COMMIT")


def test_table_has_running_tasks_then_pending_as_they_start_then_ended(queue_db: QueueDatabase):
    ended = [queue_db.launch(concurrency_key="a") for _ in range(2)]
    for id in ended:
        queue_db.queue.cancel(id)
    queue_db.groups.pause("resting")
    paused = queue_db.launch(concurrency_key="resting", priority=9)
    low = queue_db.launch(priority=-1)
    later = queue_db.launch(delay_ms=3_600_000)
    after = queue_db.launch(after=(low,))
    high = queue_db.launch(priority=1)
    running = queue_db.launch(concurrency_key="b", prompt="the\nprompt", agent="external")
    assert queue_db.claim("b", owner=None) is not None
    tasks = list(queue_db.queue.in_order(Filter(limit=None)))
    assert [task.id for task in tasks] == [running, high, low, after, later, paused, *ended[::-1]]
    assert tasks[0].prompt == "the\nprompt"
    assert [task.id for task in queue_db.queue.in_order(Filter(limit=7))] == [task.id for task in tasks[:7]]
    assert [task.id for task in queue_db.queue.in_order(Filter(text="prompt"))] == [running]


@pytest.mark.parametrize("time", ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.123+01:00", "2026-01-31T09:30Z"])
def test_time_with_its_zone_is_accepted(time: str):
    assert Moment().check(time) == time


@pytest.mark.parametrize("time", ["2026-01-31T09:30:00", "2026-13-31T09:30:00Z", "yesterday", 5, "2026-02-30T00:00Z"])
def test_time_without_zone_or_that_never_is_gets_refused(time: object):
    with pytest.raises(InvalidInput, match="since: expected a time with its zone"):
        Moment().check(time, "since")


def test_word_or_list_of_words_becomes_a_list():
    shape = OneOrMore(Text(non_empty=True))
    assert shape.check("a") == ["a"]
    assert shape.check(["a", "b"]) == ["a", "b"]
    with pytest.raises(InvalidInput, match=r"status\[1\]: expected non-empty text"):
        shape.check(["a", ""], "status")
    with pytest.raises(InvalidInput, match="status: expected non-empty text"):
        shape.check(5, "status")


def test_mean_duration_counts_completed_tasks_among_the_newest(queue_db: QueueDatabase):
    queue_db.run(concurrency_key="command")
    queue_db.run(TaskStatus.ERROR, concurrency_key="command")
    queue_db.launch(concurrency_key="command")
    tasks = queue_db.queue.store.tasks
    assert tasks.mean_durations(10)["command"] >= 0
    assert tasks.mean_durations(1) == {}
