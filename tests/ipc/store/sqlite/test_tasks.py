"""Reading tasks from SQLite."""

from __future__ import annotations

from backburner.ipc.model.query import Filter
from tests.helpers.queue_db import QueueDatabase


def test_list_by_tag_costs_little_more_than_a_list_by_model(queue_db: QueueDatabase):
    for number in range(50):
        queue_db.launch(tags=["nightly", f"docs/{number}"])
    assert steps(queue_db, Filter(tags=["other"])) < 2 * steps(queue_db, Filter(model="other"))


def steps(queue_db: QueueDatabase, which: Filter) -> int:
    """Return the number of steps of SQLite's virtual machine for an empty list, in tens."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    queue_db.store._connection.set_progress_handler(count, 10)
    try:
        assert queue_db.queue.list(which).tasks == []
    finally:
        queue_db.store._connection.set_progress_handler(None, 0)
    return counted
