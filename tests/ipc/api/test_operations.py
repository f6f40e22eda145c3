"""The operations of a manager that have the names of commands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backburner import (
    Ambiguous,
    AsyncBackgroundManager,
    BackburnerError,
    BackgroundManager,
    InvalidInput,
    MoveNotAllowed,
    NoSupervisor,
    NotFound,
    Task,
    TaskStatus,
)
from tests.helpers.queue_db import QueueDatabase

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"


@pytest.fixture
def manager(home: Path) -> Iterator[BackgroundManager]:
    """Return a manager of a state directory without a supervisor."""
    with BackgroundManager() as found:
        yield found


def pending(manager: BackgroundManager, **fields: Any) -> Task:
    return manager.launch(**{"prompt": "p", "agent": "external", **fields})


def running(manager: BackgroundManager, home: Path, **fields: Any) -> Task:
    task = pending(manager, **fields)
    with QueueDatabase(home) as queue_db:
        assert queue_db.claim(task.concurrency_key, 0, owner=None) is not None
    return task


def test_task_is_found_by_its_id_a_prefix_or_itself(manager):
    task = pending(manager)
    for ref in (task, task.id, task.id[:9], task.id[3:11], "-"):
        assert manager.get(ref).id == task.id
    assert manager.get_task(task.id[3:11]).id == task.id
    for _ in range(16):
        pending(manager)
    with pytest.raises(Ambiguous):
        manager.get("bg-")
    with pytest.raises(NotFound):
        manager.get(UNKNOWN)
    assert manager.get_task("zzz") is None


@pytest.mark.parametrize("ref", [5, None, "", "\udc80", "a\0", ["bg-1"], {"id": "x"}])
def test_id_of_another_type_is_refused_everywhere(manager, ref):
    pending(manager)
    for method in (
        *(manager.get, manager.cancel, manager.retry, manager.output, manager.get_task, manager.cancel_task),
        *(manager.complete_task, manager.retry_task),
        lambda ref: manager.progress(ref, "half"),
        lambda ref: manager.edit(ref, priority=1),
        lambda ref: manager.fail_task(ref, "no"),
        lambda ref: manager.wait([ref]),
        lambda ref: manager.remove([ref]),
    ):
        with pytest.raises(InvalidInput, match="id: "):
            method(ref)


def test_other_arguments_of_wrong_types_are_refused(manager):
    for call in (
        *(lambda: manager.wait(timeout="5s"), lambda: manager.wait(parent=["x"]), lambda: manager.wait(timeout=-1)),
        *(lambda: manager.events(parent=3), lambda: manager.events(after="x"), lambda: manager.events(after=2**70)),
        *(lambda: manager.adopt(1, "b"), lambda: manager.get_tasks_for_parent(["x"]), lambda: manager.list("failed")),
        *(lambda: manager.list(tags=[1]), lambda: manager.list(since="today"), lambda: manager.list(limit=-1)),
        *(lambda: manager.list(model=2), lambda: manager.list(staus="x"), lambda: manager.pause(1)),
        *(lambda: manager.limit("k", -1), lambda: manager.limit("k", "many"), lambda: manager.limit("", 1)),
        *(lambda: manager.limit("k", [1]), lambda: manager.flush(1), lambda: manager.output("-", "both")),
    ):
        with pytest.raises(InvalidInput):
            call()


def test_value_that_no_check_knows_does_not_reach_the_user_as_an_error_of_sqlite(manager):
    with pytest.raises(BackburnerError):
        manager._handle.store.tasks.get(["x"])


def test_list_filters_tasks_and_returns_the_newest_first(manager, home):
    first = pending(manager, tags=["a"], parent_session_id="p", description="the needle")
    second = running(manager, home, concurrency_key="k")
    assert [task.id for task in manager.list()] == [second.id, first.id]
    for filters in ({"status": "pending"}, {"tags": ["a"]}, {"parent": "p"}, {"text": "needle"}, {"key": "external"}):
        assert [task.id for task in manager.list(**filters)] == [first.id], filters
    assert [task.id for task in manager.list(["running", TaskStatus.ERROR])] == [second.id]
    assert len(manager.list(limit=1)) == 1
    assert manager.list(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert manager.list("pending")[0].prompt == "p"


def test_cancel_and_retry_return_the_task(manager):
    task = pending(manager)
    assert manager.cancel(task).status is TaskStatus.CANCELLED
    with pytest.raises(MoveNotAllowed):
        manager.cancel(task)
    assert manager.retry(task).status is TaskStatus.PENDING


def test_edit_changes_a_pending_task(manager):
    task = manager.edit(pending(manager), description="x", timeout=2, tags=["a"], delay=timedelta(hours=1))
    assert (task.description, task.timeout_ms, task.tags, task.waiting_for) == ("x", 2000, ("a",), "delay")
    with pytest.raises(InvalidInput, match="give timeout or timeout_ms"):
        manager.edit(task, timeout=1, timeout_ms=1)
    with pytest.raises(InvalidInput, match="needs a field"):
        manager.edit(task)


def test_remove_deletes_several_tasks(manager):
    tasks = [manager.cancel(pending(manager)) for _ in range(3)]
    manager.remove(tasks[0], [tasks[1].id, tasks[2]])
    assert manager.list() == []
    with pytest.raises(MoveNotAllowed):
        manager.remove(pending(manager))


def test_progress_is_recorded(manager, home):
    task = running(manager, home)
    assert manager.progress(task, "half").progress == "half"
    with pytest.raises(MoveNotAllowed):
        manager.progress(pending(manager), "half")


def test_limit_and_pause_return_the_row_of_the_key(manager):
    assert manager.limit("k")["limit"] == 3
    assert manager.limit("k", 1) == {"key": "k", "limit": 1, "running": 0, "pending": 0, "paused": False}
    assert manager.pause("k")["paused"]
    assert manager.status()["keys"] == [{"key": "k", "limit": 1, "running": 0, "pending": 0, "paused": True}]
    assert not manager.resume("k")["paused"]
    assert manager.limit("k", "unlimited")["limit"] == 0
    assert manager.limit("k", "default")["limit"] == 3


def test_flush_needs_the_bus(manager):
    with pytest.raises(NoSupervisor):
        manager.flush()


def test_wait_takes_ids_prefixes_tasks_and_lists_of_them(manager):
    tasks = [manager.cancel(pending(manager)) for _ in range(4)]
    refs = (tasks[0], tasks[1].id[3:11], [tasks[2].id], (task for task in tasks[3:]))
    assert [task.id for task in manager.wait(*refs, timeout=timedelta(seconds=30))] == [task.id for task in tasks]
    assert manager.wait([], timeout=1) == []


def test_wait_that_times_out_names_the_tasks_and_the_missing_supervisor(manager):
    task = pending(manager)
    with pytest.raises(TimeoutError, match=f"1 of 1 task has not ended in time: {task.id}. No supervisor is running"):
        manager.wait(task, timeout=0.001)


def test_every_operation_is_in_the_async_manager():
    names = {name for name in dir(BackgroundManager) if not name.startswith("_")}
    assert names - set(dir(AsyncBackgroundManager)) == set()
