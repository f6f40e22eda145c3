from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc import clock
from backburner.ipc.machine.shared_slots import SharedSlot, wake_waiting
from backburner.ipc.model.claim import Slot, Step
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.sqlite.queue import SqliteQueue
from backburner.supervisor.pool.dispatch import RAMP_WAIT, RAMP_WORKERS, Dispatch
from backburner.supervisor.pool.shared_limits import SharedLimits
from backburner.supervisor.pool.workers import WorkerHandle, Workers
from tests.helpers.queue_db import QueueDatabase

SLOT = Slot("command", 0)


def nothing(*_: object) -> None:
    """Ignore what a supervisor would react to."""


@pytest.fixture
def queue_db(tmp_path: Path) -> Iterator[QueueDatabase]:
    with QueueDatabase(tmp_path / "home", default_concurrency=1) as queue_db:
        queue_db.groups.configure()
        yield queue_db


@pytest.fixture
def workers() -> Iterator[Workers]:
    with DefaultSelector() as selector:
        workers = Workers(selector, nothing, nothing)
        yield workers
        for worker in workers:
            assert worker.channel is not None
            worker.channel.close()
            if worker.shared is not None:
                worker.shared.close()


@pytest.fixture
def shared(queue_db: QueueDatabase, workers: Workers) -> Iterator[SharedLimits]:
    """Shared limits, of which none is set."""
    shared = SharedLimits(queue_db.home, workers._selector)
    yield shared
    shared.close()


@pytest.fixture
def dispatch(queue_db: QueueDatabase, workers: Workers, shared: SharedLimits) -> Iterator[Dispatch]:
    ends = []

    def spawn_worker() -> WorkerHandle:
        ours, theirs = socket.socketpair()
        ends.append(theirs)
        worker = workers.add(ours)
        worker.shared = shared.open()
        return worker

    yield Dispatch(workers, queue_db.groups, queue_db.queue, spawn_worker, shared)
    for end in ends:
        end.close()


def assign_slots(dispatch: Dispatch, workers: Workers) -> WorkerHandle:
    dispatch.hint("command")
    dispatch.assign_slots(4)
    (worker,) = workers
    return worker


@pytest.mark.parametrize("spawned", [False, True], ids=["before its pid arrived", "before its first message"])
def test_worker_of_a_claimed_task_keeps_its_slot_in_a_count(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch, spawned: bool
):
    queue_db.launch()
    queue_db.launch()
    worker = assign_slots(dispatch, workers)
    claimed = queue_db.claim()
    running = queue_db.store.hosts.running()
    worker.pid = running[0].owner.identity.pid if spawned else None
    dispatch.recount(running)
    assert (worker.slot, worker.idle) == (SLOT, False)
    queue_db.settle(claimed)
    dispatch.free(worker)
    assert assign_slots(dispatch, workers).slot == SLOT


def test_assigned_worker_loses_a_slot_that_a_task_was_moved_into(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch
):
    queue_db.launch()
    worker = assign_slots(dispatch, workers)
    worker.pid = 1  # not the one that claims
    queue_db.claim()
    dispatch.recount(queue_db.store.hosts.running())
    assert worker.slot is None


# many slots, short tasks


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The wall clock, which stands still until the test changes it."""
    now = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return now


def launch_into(queue_db: QueueDatabase, limit: int, **fields: object) -> None:
    queue_db.groups.limit("command", limit)
    for _ in range(limit):
        queue_db.launch(concurrency_key="command", **fields)


def test_group_gets_two_workers_at_once_and_more_after_the_ramp_wait(
    queue_db: QueueDatabase, workers: Workers, still: list[int], dispatch: Dispatch
):
    launch_into(queue_db, 6)
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.assign_slots(8)
    assert len(workers) == RAMP_WORKERS
    assert 0 < dispatch.look_at - clock.monotonic() <= RAMP_WAIT / 1000
    still[0] += RAMP_WAIT
    dispatch.assign_slots(8)
    assert (len(workers), dispatch.look_at) == (6, float("inf"))


def test_task_launched_before_the_clock_was_set_back_does_not_wait(
    queue_db: QueueDatabase, workers: Workers, still: list[int], dispatch: Dispatch
):
    launch_into(queue_db, 6)
    still[0] -= 3_600_000
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.assign_slots(8)
    assert len(workers) == 6


def test_ramp_wait_of_one_group_does_not_delay_another(
    queue_db: QueueDatabase, workers: Workers, still: list[int], dispatch: Dispatch
):
    launch_into(queue_db, 6)
    queue_db.launch(concurrency_key="other")
    dispatch.recount([])
    dispatch.hint("command", "other")
    dispatch.assign_slots(8)
    assert sorted(worker.slot.group for worker in workers) == ["command", "command", "other"]


def test_external_task_starts_at_once_during_the_ramp_wait(
    queue_db: QueueDatabase, workers: Workers, still: list[int], dispatch: Dispatch
):
    launch_into(queue_db, 6)
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.assign_slots(8)
    queue_db.launch(agent="external", prompt="p", concurrency_key="command", priority=9)
    assert dispatch.assign_slots(8)
    assert (len(workers), len(queue_db.store.hosts.running())) == (2, 1)


# parked workers


@pytest.fixture
def parked(queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch) -> WorkerHandle:
    """A worker that found no task in its slot."""
    id = queue_db.launch()
    worker = assign_slots(dispatch, workers)
    worker.owner, worker.assigned = queue_db.owner, False
    queue_db.settle(queue_db.start(id))
    assert queue_db.queue.advance(Step(SLOT, queue_db.owner, count=1)).parked
    return worker


def test_parked_worker_keeps_its_slot_while_nothing_is_ready(
    queue_db: QueueDatabase, parked: WorkerHandle, dispatch: Dispatch
):
    dispatch.hint("command")
    dispatch.assign_slots(1)
    assert (parked.slot, queue_db.store.queue.parked()) == (SLOT, {queue_db.owner: SLOT})
    assert not dispatch.any_at_work()


def test_parked_worker_is_assigned_tasks_that_it_was_not_sent(
    queue_db: QueueDatabase, parked: WorkerHandle, workers: Workers, dispatch: Dispatch
):
    queue_db.queue.launch_many([LaunchInput(command=("true",))] * 2)
    dispatch.hint("command")
    dispatch.assign_slots(4)
    assert (list(workers), parked.slot, parked.assigned) == ([parked], SLOT, True)
    assert queue_db.store.queue.parked() == {}


def test_parked_worker_works_for_another_group_when_workers_are_short(
    queue_db: QueueDatabase, parked: WorkerHandle, workers: Workers, dispatch: Dispatch
):
    queue_db.launch(concurrency_key="other")
    dispatch.hint("other")
    dispatch.assign_slots(1)
    assert (list(workers), parked.slot) == ([parked], Slot("other", 0))


def test_parked_worker_stays_while_another_can_be_spawned(
    queue_db: QueueDatabase, parked: WorkerHandle, workers: Workers, dispatch: Dispatch
):
    queue_db.launch(concurrency_key="other")
    dispatch.hint("other")
    dispatch.assign_slots(2)
    assert (len(workers), parked.slot) == (2, SLOT)


def test_parked_slot_is_used_for_external_work_of_its_group(
    queue_db: QueueDatabase, parked: WorkerHandle, dispatch: Dispatch
):
    queue_db.launch(agent="external", prompt="p", concurrency_key="command")
    dispatch.hint("command")
    assert dispatch.assign_slots(1)
    assert parked.idle


def test_parked_worker_keeps_its_slot_if_a_launch_was_faster(
    queue_db: QueueDatabase, parked: WorkerHandle, workers: Workers, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
):
    queue_db.launch(concurrency_key="other")
    before = SqliteQueue.parked
    monkeypatch.setattr(SqliteQueue, "parked", lambda slots: (before(slots), queue_db.launch())[0])
    dispatch.hint("other")
    dispatch.assign_slots(1)
    assert (len(workers), parked.slot, parked.idle) == (1, SLOT, False)


def test_worker_that_parked_before_its_first_message_keeps_its_slot(
    queue_db: QueueDatabase, parked: WorkerHandle, dispatch: Dispatch
):
    parked.owner = None
    dispatch.recount([])
    assert (parked.slot, queue_db.store.queue.parked()) == (SLOT, {queue_db.owner: SLOT})


def test_no_worker_stays_parked_when_slots_are_counted(
    queue_db: QueueDatabase, parked: WorkerHandle, dispatch: Dispatch
):
    dispatch.recount([])
    assert (parked.idle, queue_db.store.queue.parked()) == (True, {})


def test_parked_worker_with_a_task_claimed_during_a_count_keeps_its_slot(
    queue_db: QueueDatabase, parked: WorkerHandle, dispatch: Dispatch
):
    running = queue_db.store.hosts.running()
    queue_db.launch()
    dispatch.recount(running)
    assert parked.slot == SLOT


# shared limits


@pytest.fixture
def other_home(shared: SharedLimits) -> Iterator[SharedSlot]:
    """The only shared slot of `api/a`, which another state directory uses."""
    shared.configure({"api/a": 1})
    slot = SharedSlot.open({})
    assert slot.take("api/a", 1)
    yield slot
    slot.close()


def slots_in_use(workers: Workers) -> list[str]:
    return [worker.slot.group for worker in workers if worker.slot is not None]


def test_group_whose_shared_slots_are_taken_gets_no_worker(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch, other_home: SharedSlot
):
    for key in ("api/a", "other"):
        queue_db.launch(concurrency_key=key)
        dispatch.hint(key)
    dispatch.assign_slots(4)
    assert slots_in_use(workers) == ["other"]


def test_freed_shared_slot_is_taken_when_the_pipe_is_read(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch, other_home: SharedSlot
):
    queue_db.launch(concurrency_key="api/a")
    dispatch.hint("api/a")
    dispatch.assign_slots(4)
    other_home.free()
    dispatch.assign_slots(4)
    assert slots_in_use(workers) == []  # it is not tried again before it is woken
    wake_waiting()
    for key, mask in workers._selector.select(5):
        key.data(mask)
    dispatch.assign_slots(4)
    assert slots_in_use(workers) == ["api/a"]
    assert not other_home.take("api/a", 1)


def test_slot_of_a_wider_group_goes_to_a_key_whose_shared_slot_is_free(
    workers: Workers, shared: SharedLimits, dispatch: Dispatch, queue_db: QueueDatabase, other_home: SharedSlot
):
    queue_db.groups.limit("api/*", 1)
    dispatch.recount([])
    for key in ("api/a", "api/b"):
        queue_db.launch(concurrency_key=key)
    dispatch.hint("api/*")
    dispatch.assign_slots(4)
    assert slots_in_use(workers) == ["api/*"]
    assert [taken.task.id for taken in queue_db.queue.take(Slot("api/*", 0), queue_db.owner, 1, "api/b")]
    assert shared.is_mixed("api/*")


def test_worker_without_a_shared_slot_is_replaced(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch, shared: SharedLimits
):
    queue_db.launch(concurrency_key="api/a")
    dispatch.hint("api/a")
    dispatch.assign_slots(4)
    (before,) = workers
    dispatch.free(before)
    shared.configure({"api/a": 1})
    dispatch.hint("api/a")
    dispatch.assign_slots(4)
    after = [worker for worker in workers if worker is not before]
    assert (before.leaving, len(after)) == (True, 1)


def test_tasks_run_without_shared_limits_where_their_file_cannot_be_used(
    queue_db: QueueDatabase, workers: Workers, dispatch: Dispatch, monkeypatch, capsys
):
    shared = dispatch._shared
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    shared.configure({"api/a": 1})
    queue_db.launch(concurrency_key="api/a")
    dispatch.hint("api/a")
    dispatch.assign_slots(4)
    assert slots_in_use(workers) == ["api/a"]
    assert capsys.readouterr().err.count("shared limits do not count now") == 1
