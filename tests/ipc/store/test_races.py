"""Operations that check and then act, raced by threads or processes with one store each.

Each check and its change are one transaction of the store. A race is repeated, so that the threads meet at many points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Barrier
from typing import Any

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import BackburnerError, InvalidInput, MoveNotAllowed, OverCap
from backburner.ipc.model.claim import Verdict
from backburner.ipc.model.event import BATCH, MODEL
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store import export_format
from backburner.ipc.store.sessions import adopt
from tests.helpers.queue_db import MANY, QueueDatabase
from tests.helpers.queue_process import QueueProcess

#: The number of times that a race is repeated, and of the threads in it.
ROUNDS, THREADS = 20, 4

Open = Callable[..., list[QueueDatabase]]


@pytest.fixture
def open_rivals(open_queue: Callable[..., QueueDatabase]) -> Iterator[Open]:
    """Return a function that opens one queue for each thread."""
    with ExitStack() as stack:
        yield lambda **settings: [stack.enter_context(open_queue(**settings)) for _ in range(THREADS)]


@pytest.fixture
def rivals(open_rivals: Open) -> list[QueueDatabase]:
    """Open one queue for each thread, with default settings."""
    return open_rivals()


def race(*calls: Callable[[], Any]) -> list[Any]:
    """Start calls at the same time, each in its thread; return their results, or the errors that they raised."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except BackburnerError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def batches(queue_db: QueueDatabase, parent: str) -> list[dict[str, Any]]:
    """Return the unread batches of a session."""
    return [batch for _, batch in queue_db.log.unread_batches(parent, MODEL, MANY)]


# launching


def test_one_of_racing_launches_gets_a_unique_name(rivals):
    for turn in range(ROUNDS):
        wanted = LaunchInput(command=("true",), unique_key=f"name-{turn}")
        launched = race(*(partial(one.queue.launch, wanted) for one in rivals))
        assert sorted(one.existing for one in launched) == [False, True, True, True]
        assert len({one.id for one in launched}) == 1


def test_one_of_racing_launches_gets_a_chosen_id(rivals):
    for turn in range(ROUNDS):
        id = f"bg-00000000-0000-4000-8000-{turn:012}"
        inputs = [LaunchInput(command=(name,), id=id) for name in ("a", "a", "b", "b")]
        launched = race(*(partial(one.queue.launch, wanted) for one, wanted in zip(rivals, inputs, strict=True)))
        (command,) = rivals[0].get(id).command
        same = [one for one, wanted in zip(launched, inputs, strict=True) if wanted.command == (command,)]
        assert sorted(one.existing for one in same) == [False, True]
        assert all(isinstance(one, InvalidInput) for one in launched if one not in same)


def test_racing_launches_stay_within_the_cap_of_a_session(open_rivals):
    rivals = open_rivals(max_tasks_per_parent=2)
    for turn in range(ROUNDS):
        launched = race(*(partial(one.launch, parent_session_id=f"ses-{turn}") for one in rivals))
        assert sum(isinstance(one, OverCap) for one in launched) == THREADS - 2
        assert len(rivals[0].queue.unfinished(f"ses-{turn}")) == 2


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.ERROR])
def test_dependent_launched_while_its_dependency_ends_notices_the_end(rivals, status):
    first, second, *_ = rivals
    for _ in range(ROUNDS):
        claimed = first.start(first.launch())
        dependent, _ = race(partial(second.launch, after=(claimed.id,)), partial(first.settle, claimed, status))
        while first.store.queue.next_due() == 0:
            first.queue.promote()
        if status is TaskStatus.COMPLETED:
            first.settle(first.start(dependent))
        assert first.get(dependent).status is status


# claiming and settling


def test_racing_claims_never_exceed_the_limit(open_rivals):
    rivals = open_rivals(default_concurrency=2)
    for _ in range(ROUNDS):
        rivals[0].queue.launch_many([LaunchInput(command=("true",))] * THREADS)
        slots = (0, 1, 1, 2)
        claims = race(*(partial(one.claim, slot=slot) for one, slot in zip(rivals, slots, strict=True)))
        claimed = [one for one in claims if one is not None]
        assert sorted(one.slot.number for one in claimed) == [0, 1]
        assert len({one.id for one in claimed}) == len({one.claim for one in claimed}) == 2
        for one in claimed:
            rivals[0].settle(one)
        rivals[0].store.queue.cancel_waiting(MANY)


def test_racing_processes_never_claim_one_slot_twice(home, engine):
    processes = (QueueProcess(), QueueProcess())
    try:
        for process, is_first in zip(processes, (True, False), strict=True):
            process(clock.now(), "open", str(home), {**engine, "default_concurrency": 1}, is_first)
        for _ in range(ROUNDS):
            processes[0](clock.now(), "launch", [{"command": ["true"]}] * 2)
            for process in processes:
                process.send(clock.now(), "claim", "command", 0, 1)
            (claimed,) = filter(None, [process.receive() for process in processes])
            end = {"number": claimed["number"], "claim": claimed["claim"], "status": "completed"}
            assert processes[1](clock.now(), "settle", end, None) == ["completed", None]
    finally:
        for process in processes:
            process.end()


def test_no_task_starts_after_a_racing_pause(rivals):
    first, second, *_ = rivals
    for _ in range(ROUNDS):
        first.queue.launch_many([LaunchInput(command=("true",))] * 2)
        _, claimed = race(partial(first.groups.pause, "command"), second.claim)
        assert second.claim(slot=1) is None
        first.groups.resume("command")
        if claimed is not None:
            first.settle(claimed)
        first.store.queue.cancel_waiting(MANY)


def test_one_of_racing_settlements_counts(rivals):
    for _ in range(ROUNDS):
        claimed = rivals[0].start(rivals[0].launch(parent_session_id="ses-1"))
        settled = race(*(partial(one.settle, claimed) for one in rivals))
        assert sorted(settled, key=str) == [None, None, None, "completed"]
    assert rivals[0].event_types("ses-1").count("background_task_completed") == ROUNDS


def test_one_of_racing_verdicts_counts(rivals):
    for _ in range(ROUNDS):
        claimed = rivals[0].start(rivals[0].launch())
        verdict = Verdict(TaskStatus.CANCELLED)
        found = race(*(partial(one.queue.record_verdict, claimed.number, claimed.claim, verdict) for one in rivals))
        assert sorted(found) == [False, False, False, True]
        rivals[0].settle(claimed)


def test_pending_task_is_either_cancelled_or_started(rivals):
    first, second, *_ = rivals
    for _ in range(ROUNDS):
        id = first.launch(parent_session_id="ses-1")
        cancelled, claimed = race(partial(first.queue.cancel, id), second.claim)
        assert (claimed is None) is (cancelled.status is TaskStatus.CANCELLED)
        if claimed is not None:
            assert (cancelled.status, cancelled.stopping) == (TaskStatus.RUNNING, True)
            assert second.settle(claimed) == "cancelled"


def test_one_of_racing_retries_gets_the_unique_name(rivals):
    failed = [rivals[0].run(TaskStatus.ERROR, unique_key="name") for _ in range(THREADS - 1)]
    for _ in range(ROUNDS):
        retries = [partial(one.queue.retry, id) for one, id in zip(rivals[1:], failed, strict=True)]
        retried = race(partial(rivals[0].launch, unique_key="name"), *retries)
        assert len(rivals[0].queue.unfinished()) == 1
        assert sum(isinstance(one, MoveNotAllowed) for one in retried) >= THREADS - 2
        rivals[0].queue.cancel(rivals[0].queue.unfinished()[0])


# limit groups


def test_tasks_launched_during_a_regrouping_are_in_the_new_group(rivals):
    first, second, third, fourth = rivals
    for limit in (1, None) * (ROUNDS // 2):
        first.store.queue.cancel_waiting(MANY)
        race(
            partial(first.groups.limit, "a/*", limit),
            partial(second.launch, concurrency_key="a/x"),
            partial(third.launch, concurrency_key="a/y"),
            partial(fourth.launch, concurrency_key="a/x"),
        )
        pending = {group.name: group.pending for group in first.groups.all() if group.pending}
        assert pending == ({"a/*": 3} if limit else {"a/x": 2, "a/y": 1})


# events


def test_racing_batches_have_each_end_once_and_the_last_is_complete(rivals):
    for turn in range(ROUNDS):
        parent = f"ses-{turn}"
        ids = [rivals[0].launch(parent_session_id=parent) for _ in range(2)]
        ends = [rivals[0].start(id, slot=slot) for slot, id in enumerate(ids)]
        race(
            partial(rivals[0].settle, ends[0]),
            partial(rivals[1].settle, ends[1]),
            partial(rivals[2].log.form_batch, parent, 5),
            partial(rivals[3].log.form_batches, {parent: 2}, 5),
        )
        while rivals[0].log.form_batch(parent, 5):
            pass
        texts = [line.text for line in rivals[0].log.read(parent, 0, MANY) if line.type == BATCH]
        found = batches(rivals[0], parent)
        assert len(texts) == len(found)
        assert sorted(task["id"] for batch in found for task in batch["tasks"]) == sorted(ids)
        assert ['"allComplete":true' in text for text in texts] == [*[False] * (len(texts) - 1), True]


def test_ends_and_launches_during_an_adoption_reach_the_successor(rivals):
    for turn in range(ROUNDS):
        former, successor = f"ses-{turn}", f"new-{turn}"
        ended = rivals[0].run(parent_session_id=former)
        running = rivals[0].start(rivals[0].launch(parent_session_id=former))
        _, _, _, launched = race(
            partial(adopt, rivals[0].store, former, successor),
            partial(rivals[1].log.form_batch, former, 5),
            partial(rivals[2].settle, running),
            partial(rivals[3].launch, parent_session_id=former),
        )
        rivals[0].queue.cancel(launched)
        for parent in (former, successor):
            rivals[0].log.form_batch(parent, 5)
        received = [task["id"] for batch in batches(rivals[0], successor) for task in batch["tasks"]]
        assert sorted(received) == sorted([ended, running.id, launched])
        assert batches(rivals[0], former) == []


def test_racing_acknowledgements_leave_the_cursor_at_the_highest(rivals):
    for _ in range(ROUNDS):
        rivals[0].run(parent_session_id="ses-1")
        last = rivals[0].log.last_seq()
        seqs = (last, last - 1, last, last - 1)
        race(*(partial(one.log.acknowledge, "ses-1", MODEL, seq) for one, seq in zip(rivals, seqs, strict=True)))
        assert rivals[0].log.cursor("ses-1", MODEL) == last


# all tasks at once


def test_task_launched_during_a_clear_is_kept(rivals):
    first, second, *_ = rivals
    for _ in range(ROUNDS):
        first.run()
        cleared, id = race(first.store.maintenance.clear, second.launch)
        assert first.get(id).status is TaskStatus.PENDING
        assert len(first.queue.list(Filter()).tasks) == (2 if cleared is None else 1)
        first.queue.cancel(id)
        first.store.maintenance.clear()


def test_tasks_are_replaced_or_one_of_them_is_started(rivals):
    first, second, *_ = rivals
    for _ in range(ROUNDS):
        id = first.launch()
        replaced, claimed = race(partial(first.store.maintenance.replace, {}, [], first.config), second.claim)
        assert replaced is (claimed is None)
        assert first.queue.unfinished() == ([] if replaced else [id])
        if claimed is not None:
            second.settle(claimed)


def test_racing_imports_add_each_task_once(rivals):
    for turn in range(ROUNDS):
        tasks = [
            {"id": f"t-{turn}-{at}", "agent": "command", "status": "completed", "queuedAt": "2026-01-01T00:00:00.000Z"}
            for at in range(3)
        ]
        saved = export_format.read({"format": "backburner", "version": 1, "tasks": tasks}, "/")
        added = race(*(partial(one.store.maintenance.add, saved, one.config) for one in rivals))
        assert sorted(added) == [0, 0, 0, 3]
