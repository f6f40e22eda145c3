"""Limit groups: limits, pauses, and pending and running tasks that change their group."""

from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.values import Group
from tests.helpers.queue_db import QueueDatabase


def group(queue_db: QueueDatabase, name: str) -> Group:
    return next(one for one in queue_db.groups.all() if one.name == name)


def test_group_counts_pending_and_running_tasks(queue_db):
    first = queue_db.launch(model="opus")
    queue_db.launch(model="opus")
    assert (group(queue_db, "opus").running, group(queue_db, "opus").pending) == (0, 2)
    claimed = queue_db.start(first, "opus")
    assert (group(queue_db, "opus").running, group(queue_db, "opus").pending) == (1, 1)
    queue_db.settle(claimed, TaskStatus.ERROR)
    queue_db.queue.retry(first)
    assert (group(queue_db, "opus").running, group(queue_db, "opus").pending) == (0, 2)


def test_paused_group_starts_no_task_until_it_is_resumed(queue_db):
    id = queue_db.launch(model="opus")
    queue_db.groups.pause("opus")
    assert queue_db.claim("opus") is None
    assert queue_db.queue.store.limits.waiting() == []
    assert group(queue_db, "opus").paused
    queue_db.groups.resume("opus")
    queue_db.start(id, "opus")


def test_unknown_key_can_be_paused_and_limited(queue_db):
    queue_db.groups.pause("new")
    queue_db.groups.limit("newer", 1)
    queue_db.launch(concurrency_key="new")
    assert queue_db.claim("new") is None
    assert group(queue_db, "newer").limit == 1


def test_live_limit_applies_at_once_and_survives_restarts(open_queue):
    with open_queue() as queue_db:
        ids = [queue_db.launch() for _ in range(4)]
        queue_db.groups.limit("command", 1)
        queue_db.start(ids[0])
        assert queue_db.claim(slot=1) is None
    with open_queue() as queue_db:
        queue_db.groups.configure()
        assert group(queue_db, "command").limit == 1
        queue_db.groups.limit("command", 2)
        queue_db.start(ids[1], slot=1)
        queue_db.groups.limit("command", 0)
        queue_db.start(ids[2], slot=2)
        queue_db.groups.limit("command", None)
        assert group(queue_db, "command").limit == 3
        assert queue_db.claim(slot=3) is None


def test_lowered_limit_lets_running_tasks_finish_and_starts_none(queue_db):
    claimed = [queue_db.start(queue_db.launch(), slot=slot) for slot in range(3)]
    last = queue_db.launch()
    queue_db.groups.limit("command", 1)
    assert group(queue_db, "command").running == 3
    for one in claimed[:2]:
        queue_db.settle(one)
        assert queue_db.claim(slot=one.slot.number) is None
    queue_db.settle(claimed[2])
    queue_db.start(last)


def test_keys_of_one_pattern_share_its_limit(open_queue):
    with open_queue(model_concurrency={"anthropic/*": 1}) as queue_db:
        first = queue_db.launch(model="anthropic/opus")
        queue_db.launch(model="anthropic/haiku")
        queue_db.launch(model="other/opus")
        queue_db.start(first, "anthropic/*")
        assert queue_db.claim("anthropic/*", 1) is None
        assert queue_db.claim("anthropic/haiku") is None
        assert queue_db.claim("other/opus") is not None
        assert queue_db.get(first).concurrency_key == "anthropic/opus"


def test_new_configuration_regroups_pending_and_running_tasks(open_queue):
    with open_queue() as queue_db:
        running = [queue_db.launch(model=f"anthropic/{name}") for name in ("opus", "haiku")]
        claimed = [queue_db.start(id, queue_db.get(id).model) for id in running]
        waiting = queue_db.launch(model="anthropic/opus")
    with open_queue(model_concurrency={"anthropic/*": 2}) as queue_db:
        queue_db.groups.configure()
        found = group(queue_db, "anthropic/*")
        assert (found.limit, found.running, found.pending) == (2, 2, 1)
        assert sorted(queue_db.get(id).slot for id in running) == [0, 1]
        assert queue_db.claim("anthropic/*", 2) is None
        queue_db.settle(claimed[0])
        free = {0, 1} - {queue_db.get(running[1]).slot}
        queue_db.start(waiting, "anthropic/*", free.pop())
        assert queue_db.get(running[0]).status is TaskStatus.COMPLETED


def test_removed_pattern_separates_its_keys(open_queue):
    with open_queue(model_concurrency={"anthropic/*": 1}) as queue_db:
        queue_db.groups.configure()
        ids = [queue_db.launch(model=f"anthropic/{name}") for name in ("opus", "haiku")]
        queue_db.start(ids[0], "anthropic/*")
    with open_queue() as queue_db:
        queue_db.groups.configure()
        assert "anthropic/*" not in {one.name for one in queue_db.groups.all()}
        assert group(queue_db, "anthropic/opus").running == 1
        queue_db.start(ids[1], "anthropic/haiku")


def test_new_pattern_may_start_above_its_limit_and_starts_no_more(open_queue):
    with open_queue() as queue_db:
        claimed = [queue_db.start(queue_db.launch(model=f"a/{name}"), f"a/{name}") for name in "xyz"]
    with open_queue(model_concurrency={"a/*": 1}) as queue_db:
        queue_db.groups.configure()
        assert group(queue_db, "a/*").running == 3
        queue_db.launch(model="a/x")
        for one in claimed:
            assert queue_db.claim("a/*", 5) is None
            assert queue_db.claim("a/*") is None
            queue_db.settle(one)
        assert queue_db.claim("a/*") is not None


def test_live_limit_takes_a_key_out_of_its_pattern(open_queue):
    with open_queue(model_concurrency={"a/*": 1}) as queue_db:
        first, second = queue_db.launch(model="a/x"), queue_db.launch(model="a/y")
        queue_db.start(first, "a/*")
        assert queue_db.claim("a/*", 1) is None
        queue_db.groups.limit("a/y", 5)
        queue_db.start(second, "a/y")


def test_waiting_lists_the_first_ready_task_of_each_group(queue_db):
    first, second = queue_db.launch(model="opus"), queue_db.launch(model="haiku")
    queue_db.launch(model="opus")
    heads = dict((name, number) for number, name in queue_db.queue.store.limits.waiting())
    assert heads == {queue_db.get(id).concurrency_key: queue_db.queue._state(id).number for id in (first, second)}
    head = queue_db.queue.store.limits.head("opus", 9)
    assert (head.external, head.ready) == (False, 2)
    assert queue_db.queue.store.limits.head("nothing", 9) is None
