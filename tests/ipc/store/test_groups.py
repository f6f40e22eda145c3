"""Limit groups: limits, pauses, and tasks that change their group while they wait and run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.helpers.yard import Yard


@pytest.fixture
def yard(home) -> Iterator[Yard]:
    with Yard(home) as found:
        yield found


def group(yard: Yard, name: str):
    return next(one for one in yard.groups.all() if one.name == name)


def test_a_group_counts_what_waits_and_what_runs(yard):
    first = yard.launch(model="opus")
    yard.launch(model="opus")
    assert (group(yard, "opus").running, group(yard, "opus").pending) == (0, 2)
    claimed = yard.start(first, "opus")
    assert (group(yard, "opus").running, group(yard, "opus").pending) == (1, 1)
    yard.settle(claimed, TaskStatus.ERROR)
    yard.queue.retry(first)
    assert (group(yard, "opus").running, group(yard, "opus").pending) == (0, 2)


def test_a_paused_group_gives_out_nothing_until_it_goes_on(yard):
    id = yard.launch(model="opus")
    yard.groups.pause("opus")
    assert yard.claim("opus") is None
    assert yard.queue.store.limits.waiting() == []
    assert group(yard, "opus").paused
    yard.groups.resume("opus")
    yard.start(id, "opus")


def test_a_key_that_nobody_knows_can_be_paused_and_limited(yard):
    yard.groups.pause("new")
    yard.groups.limit("newer", 1)
    yard.launch(concurrency_key="new")
    assert yard.claim("new") is None
    assert group(yard, "newer").limit == 1


def test_a_live_limit_counts_at_once_and_outlives_restarts(home):
    with Yard(home) as yard:
        ids = [yard.launch() for _ in range(4)]
        yard.groups.limit("command", 1)
        yard.start(ids[0])
        assert yard.claim(slot=1) is None
    with Yard(home) as yard:
        yard.groups.configure()
        assert group(yard, "command").limit == 1
        yard.groups.limit("command", 2)
        yard.start(ids[1], slot=1)
        yard.groups.limit("command", 0)
        yard.start(ids[2], slot=2)
        yard.groups.limit("command", None)
        assert group(yard, "command").limit == 3
        assert yard.claim(slot=3) is None


def test_after_a_limit_was_lowered_the_surplus_runs_out(yard):
    claimed = [yard.start(yard.launch(), slot=slot) for slot in range(3)]
    last = yard.launch()
    yard.groups.limit("command", 1)
    assert group(yard, "command").running == 3
    for one in claimed[:2]:
        yard.settle(one)
        assert yard.claim(slot=one.slot.number) is None
    yard.settle(claimed[2])
    yard.start(last)


def test_keys_that_match_one_pattern_share_one_limit(home):
    with Yard(home, model_concurrency={"anthropic/*": 1}) as yard:
        first = yard.launch(model="anthropic/opus")
        yard.launch(model="anthropic/haiku")
        yard.launch(model="other/opus")
        yard.start(first, "anthropic/*")
        assert yard.claim("anthropic/*", 1) is None
        assert yard.claim("anthropic/haiku") is None
        assert yard.claim("other/opus") is not None
        assert yard.get(first).concurrency_key == "anthropic/opus"


def test_a_new_configuration_regroups_what_waits_and_what_runs(home):
    with Yard(home) as yard:
        running = [yard.launch(model=f"anthropic/{name}") for name in ("opus", "haiku")]
        claimed = [yard.start(id, yard.get(id).model) for id in running]
        waiting = yard.launch(model="anthropic/opus")
    with Yard(home, model_concurrency={"anthropic/*": 2}) as yard:
        yard.groups.configure()
        pool = group(yard, "anthropic/*")
        assert (pool.limit, pool.running, pool.pending) == (2, 2, 1)
        assert sorted(yard.get(id).slot for id in running) == [0, 1]
        assert yard.claim("anthropic/*", 2) is None
        yard.settle(claimed[0])
        free = {0, 1} - {yard.get(running[1]).slot}
        yard.start(waiting, "anthropic/*", free.pop())
        assert yard.get(running[0]).status is TaskStatus.COMPLETED


def test_a_pattern_that_goes_away_parts_its_keys_again(home):
    with Yard(home, model_concurrency={"anthropic/*": 1}) as yard:
        yard.groups.configure()
        ids = [yard.launch(model=f"anthropic/{name}") for name in ("opus", "haiku")]
        yard.start(ids[0], "anthropic/*")
    with Yard(home) as yard:
        yard.groups.configure()
        assert "anthropic/*" not in {one.name for one in yard.groups.all()}
        assert group(yard, "anthropic/opus").running == 1
        yard.start(ids[1], "anthropic/haiku")


def test_more_may_run_than_a_pool_takes_when_it_is_made_and_it_runs_out(home):
    with Yard(home) as yard:
        claimed = [yard.start(yard.launch(model=f"a/{name}"), f"a/{name}") for name in "xyz"]
    with Yard(home, model_concurrency={"a/*": 1}) as yard:
        yard.groups.configure()
        assert group(yard, "a/*").running == 3
        yard.launch(model="a/x")
        for one in claimed:
            assert yard.claim("a/*", 5) is None
            assert yard.claim("a/*") is None
            yard.settle(one)
        assert yard.claim("a/*") is not None


def test_a_live_limit_takes_a_key_out_of_its_pattern(home):
    with Yard(home, model_concurrency={"a/*": 1}) as yard:
        first, second = yard.launch(model="a/x"), yard.launch(model="a/y")
        yard.start(first, "a/*")
        assert yard.claim("a/*", 1) is None
        yard.groups.limit("a/y", 5)
        yard.start(second, "a/y")


def test_the_oldest_first_task_of_each_group_that_waits(yard):
    first, second = yard.launch(model="opus"), yard.launch(model="haiku")
    yard.launch(model="opus")
    heads = dict((name, number) for number, name in yard.queue.store.limits.waiting())
    assert heads == {yard.get(id).concurrency_key: yard.queue._state(id).number for id in (first, second)}
    head = yard.queue.store.limits.head("opus", 9)
    assert (head.external, head.ready) == (False, 2)
    assert yard.queue.store.limits.head("nothing", 9) is None
