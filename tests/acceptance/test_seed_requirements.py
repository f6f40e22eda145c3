"""One test for each promise of the seed design, through the manager and with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backburner import (
    BackgroundManager,
    Client,
    EventBus,
    NotificationConfig,
    NotificationManager,
    Task,
    TaskStatus,
    clear_background_state,
    create_empty_state,
    create_notification_manager,
    format_batch_notification,
    get_background_manager,
    load_background_state,
    reset_background_manager,
    save_background_state,
)
from backburner.ipc import clock
from backburner.ipc.home import Home
from tests.helpers.instance import FOREVER, TIMEOUT, Instance
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.wait import eventually

#: The seed's own times of batches; one slot for a task that must wait.
SEED = {"model_concurrency": {"opus": 1}, "kill_grace_s": 1}


@pytest.fixture
def manager(instance: Instance) -> Iterator[BackgroundManager]:
    """Start a supervisor, and yield a manager of its home."""
    with BackgroundManager(instance.folder, SEED, start=True) as manager:
        yield manager


def status(manager: BackgroundManager, id: str) -> str:
    task = manager.get_task(id)
    return "" if task is None else task.status.value


def running(manager: BackgroundManager, **fields) -> Task:
    task = manager.launch(agent="external", **fields)
    eventually(lambda: status(manager, task.id) == "running")
    return task


# the life of a task


def test_task_is_pending_until_it_gets_a_slot(instance: Instance):
    with BackgroundManager(instance.folder, SEED) as manager:
        task = manager.launch(command=FOREVER, model="opus")
        assert (task.status, task.id[:3], task.slot) == (TaskStatus.PENDING, "bg-", None)
        assert task.queued_at.tzinfo is not None
        manager.start()
        eventually(lambda: status(manager, task.id) == "running")
        found = manager.get_task(task.id)
        assert found is not None
        assert (found.slot, found.attempt) == (0, 1)
        assert found.started_at is not None
        assert found.started_at >= found.queued_at


def test_task_beyond_the_limit_waits_for_a_slot(manager: BackgroundManager):
    first = running(manager, model="opus")
    second, other = manager.launch(agent="external", model="opus"), running(manager, model="sonnet")
    found = manager.get_task(second.id)
    assert found is not None
    assert (found.status, found.waiting_for) == ("pending", "slot")
    manager.complete_task(first.id)
    eventually(lambda: status(manager, second.id) == "running")
    assert status(manager, other.id) == "running"


@pytest.mark.parametrize("verb", ["complete", "fail", "cancel"])
def test_verdict_releases_the_slot_before_callbacks_run(manager: BackgroundManager, verb: str):
    first = running(manager, model="opus", parent_session_id="me")
    second = manager.launch(agent="external", model="opus", parent_session_id="me")
    end: dict[str, Callable[[], bool]] = {
        "complete": lambda: manager.complete_task(first.id, "done"),
        "fail": lambda: manager.fail_task(first.id, "no"),
        "cancel": lambda: manager.cancel_task(first.id),
    }
    slots: list[object] = []

    def record(task: Task) -> None:
        stored = manager.get_task(task.id)
        slots.append(stored and (stored.slot, stored.status))

    manager.on_complete(record)
    assert end[verb]() is True
    eventually(lambda: slots)
    assert slots == [(None, {"complete": "completed", "fail": "error", "cancel": "cancelled"}[verb])]
    eventually(lambda: status(manager, second.id) == "running")


def test_verdict_stores_the_result_or_error_and_the_time(manager: BackgroundManager):
    done, failed = running(manager), running(manager)
    assert manager.complete_task(done.id, "the result")
    assert manager.fail_task(failed.id, "the error")
    first, second = manager.get_task(done.id), manager.get_task(failed.id)
    assert first is not None
    assert second is not None
    assert (first.status, first.result, first.error) == (TaskStatus.COMPLETED, "the result", None)
    assert (second.status, second.result, second.error) == (TaskStatus.ERROR, None, "the error")
    assert first.completed_at is not None
    assert first.started_at is not None
    assert first.completed_at >= first.started_at


def test_complete_and_fail_return_false_unless_the_task_is_running(manager: BackgroundManager):
    pending = manager.launch(agent="external", delay_ms=600_000)
    ended = running(manager)
    assert manager.complete_task(ended.id, "first")
    for id in (pending.id, ended.id, "bg-unknown"):
        assert manager.complete_task(id, "late") is False
        assert manager.fail_task(id, "late") is False
    assert manager.cancel_task(ended.id) is False
    assert manager.cancel_task("bg-unknown") is False
    found = manager.get_task(ended.id)
    assert found is not None
    assert (found.result, status(manager, pending.id)) == ("first", "pending")


# state and queries


def test_state_survives_the_manager(instance: Instance):
    with BackgroundManager(instance.folder) as manager:
        ids = [manager.launch(command=("true",), description=f"number {number}").id for number in range(3)]
    with BackgroundManager(instance.folder) as manager:
        assert [task.id for task in manager.get_all_tasks()] == ids
        assert [task.description for task in manager.get_all_tasks()] == ["number 0", "number 1", "number 2"]


def test_state_survives_the_supervisor_and_its_process(manager: BackgroundManager, instance: Instance):
    task, pending = running(manager), manager.launch(command=("true",), delay_ms=600_000)
    instance.kill("supervisor")
    script = f"import sys; sys.path.append({str(IMPORT_ROOT)!r}); from backburner import BackgroundManager\n" + (
        f"print([task.id for task in BackgroundManager({str(instance.folder)!r}).get_all_tasks()])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == str([task.id, pending.id])
    manager.start()
    assert (status(manager, task.id), status(manager, pending.id)) == ("running", "pending")


def test_tasks_are_found_by_id_status_and_parent(manager: BackgroundManager):
    mine = [running(manager, parent_session_id="me").id for _ in range(2)]
    other = manager.launch(command=("true",), parent_session_id="other", delay_ms=600_000).id
    alone = manager.launch(command=("true",), delay_ms=600_000).id
    manager.complete_task(mine[0])
    found = manager.get_task(mine[0])
    assert found is not None
    assert (found.id, found.parent_session_id) == (mine[0], "me")
    assert manager.get_task("bg-unknown") is None
    by_status = {one: [task.id for task in manager.get_tasks_by_status(one)] for one in TaskStatus}
    assert by_status == {
        "pending": [other, alone],
        "running": mine[1:],
        "completed": mine[:1],
        "error": [],
        "cancelled": [],
    }
    assert [task.id for task in manager.get_tasks_for_parent("me")] == mine
    assert manager.get_tasks_for_parent("nobody") == []
    assert [task.id for task in manager.get_all_tasks()] == [*mine, other, alone]


def test_state_functions_load_save_and_clear(instance: Instance):
    home = instance.folder
    assert load_background_state(home) is None
    assert (dict(create_empty_state().tasks), dict(create_empty_state().active_count)) == ({}, {})
    with BackgroundManager(home) as manager:
        id = manager.launch(command=("true",), delay_ms=600_000).id
        state = load_background_state(home)
        assert state is not None
        assert list(state.tasks) == [id]
        assert clear_background_state(home) is True
        assert load_background_state(home) is None
        assert save_background_state(state) is True
        assert status(manager, id) == "pending"


# notifications


def test_callbacks_run_for_every_task_and_outcome(manager: BackgroundManager):
    started, ended = [], []
    remove = manager.on_start(lambda task: started.append((task.id, task.status.value)))
    manager.on_complete(lambda task: ended.append((task.id, task.status.value)))
    ids = [manager.launch(command=command).id for command in (("true",), ("false",), FOREVER)]
    eventually(lambda: status(manager, ids[2]) == "running")
    assert manager.cancel_task(ids[2])
    manager.wait(*ids, timeout=TIMEOUT)
    assert sorted(started) == sorted((id, "running") for id in ids)
    assert sorted(ended) == sorted(zip(ids, ("completed", "error", "cancelled"), strict=True))
    remove()
    manager.wait(manager.launch(command=("true",)).id, timeout=TIMEOUT)
    assert (len(started), len(ended)) == (3, 4)


def test_process_has_one_default_manager_until_it_is_reset(instance: Instance):
    first = get_background_manager(instance.folder)
    assert get_background_manager() is first
    assert get_background_manager(instance.folder) is first
    with pytest.raises(ValueError, match="manager"):
        get_background_manager(instance.folder.parent / "other")
    first.launch(command=("true",))
    reset_background_manager()
    second = get_background_manager(instance.folder)
    assert second is not first
    assert second.get_all_tasks() == []
    reset_background_manager()


class Subscription:
    """Receives the events of one parent."""

    def __init__(self, home: Path, parent: str) -> None:
        self.events: list[tuple[float, dict]] = []
        self._client, self._parent = Client(Home(home), connect_timeout=TIMEOUT), parent
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Subscription:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()
        self._thread.join(TIMEOUT)

    def of(self, kind: str) -> list[dict]:
        return [event for _, event in self.events if event["type"] == kind]

    def at(self, kind: str) -> list[float]:
        return [at for at, event in self.events if event["type"] == kind]

    def _listen(self) -> None:
        for event in self._client.events(self._parent, 0):
            self.events.append((clock.monotonic(), event.to_json()))


BATCH, END = "background_tasks_batch", "background_task_completed"


def test_ends_within_one_second_are_batched(manager: BackgroundManager):
    ids = [running(manager, parent_session_id="me").id for _ in range(3)]
    with Subscription(manager.home, "me") as received:
        for id in ids:
            manager.complete_task(id)
        eventually(lambda: received.of(BATCH))
    assert [batch["count"] for batch in received.of(BATCH)] == [3]
    waited = received.at(BATCH)[0] - received.at(END)[0]
    assert 0.9 <= waited < 2.5


def test_five_ends_are_batched_at_once(manager: BackgroundManager):
    ids = [running(manager, parent_session_id="me", concurrency_key=f"k{number}").id for number in range(5)]
    with Subscription(manager.home, "me") as received:
        eventually(lambda: received.of("background_task_started"))
        for id in ids:
            manager.complete_task(id)
        eventually(lambda: received.of(BATCH))
    assert [batch["count"] for batch in received.of(BATCH)] == [5]
    assert received.at(BATCH)[0] - received.at(END)[-1] < 0.5


def test_parent_receives_events_only_of_tasks_it_launched(manager: BackgroundManager):
    names = ("one", "two")
    ids = {
        name: [running(manager, parent_session_id=name, concurrency_key=f"{name}{n}").id for n in range(2)]
        for name in names
    }
    with Subscription(manager.home, "one") as one, Subscription(manager.home, "two") as two:
        for pair in zip(*ids.values(), strict=True):
            for id in pair:
                manager.complete_task(id)
        eventually(lambda: one.of(BATCH) and two.of(BATCH))
    for name, received in (("one", one), ("two", two)):
        assert {event["parentSessionId"] for _, event in received.events} == {name}
        (batch,) = received.of(BATCH)
        assert [task["id"] for task in batch["tasks"]] == ids[name]


def test_every_end_is_reported_both_alone_and_in_a_batch(manager: BackgroundManager):
    ids = [running(manager, parent_session_id="me", concurrency_key=f"k{number}").id for number in range(3)]
    with Subscription(manager.home, "me") as received:
        manager.complete_task(ids[0], "done")
        manager.fail_task(ids[1], "no")
        manager.cancel_task(ids[2])
        eventually(lambda: received.of(BATCH))
    ends = [(end["taskId"], end["status"], end["result"], end["error"]) for end in received.of(END)]
    expected = [(ids[0], "completed", "done", None), (ids[1], "error", None, "no"), (ids[2], "cancelled", None, None)]
    assert ends == expected
    batch = received.of(BATCH)[0]
    counts = [batch[name] for name in ("count", "completedCount", "failedCount", "cancelledCount")]
    assert (counts, batch["allComplete"]) == ([3, 1, 1, 1], True)
    assert batch["message"] == "3 background tasks finished: 1 completed, 1 failed, 1 cancelled."


def test_events_are_replayed_unchanged_after_a_restart(manager: BackgroundManager, instance: Instance):
    id = running(manager, parent_session_id="me").id
    with Subscription(manager.home, "me") as received:
        manager.complete_task(id)
        eventually(lambda: received.of(BATCH))
    manager.stop()
    manager.start()
    with Subscription(manager.home, "me") as again:
        eventually(lambda: again.of(BATCH))
    assert [event for _, event in again.events] == [event for _, event in received.events]
    assert instance.events("me") == [event for _, event in received.events]


def test_clear_delivers_pending_batches_and_deletes_everything(instance: Instance):
    with BackgroundManager(instance.folder, {**SEED, "notification_batch_window_ms": 600_000}, start=True) as manager:
        pending = manager.launch(command=("true",), delay_ms=600_000, parent_session_id="me").id
        done, tree = running(manager, parent_session_id="me"), manager.launch(command=FOREVER, parent_session_id="me")
        eventually(lambda: (found := manager.get_task(tree.id)) and found.pid)
        with Subscription(manager.home, "me") as received:
            manager.complete_task(done.id)
            eventually(lambda: received.of(END))
            assert received.of(BATCH) == []
            manager.clear()
            eventually(lambda: sum(batch["count"] for batch in received.of(BATCH)) == 3)
        assert sorted(task["id"] for batch in received.of(BATCH) for task in batch["tasks"]) == sorted(
            [pending, done.id, tree.id]
        )
        assert manager.get_all_tasks() == []
        assert instance.events() == []
        manager.wait(manager.launch(command=("true",)).id, timeout=TIMEOUT)  # the supervisor still runs


def test_event_bus_of_the_manager_dispatches_received_events(manager: BackgroundManager):
    received: list[tuple[str, object]] = []
    unsubscribe = manager.get_event_bus().subscribe(END, lambda payload: received.append((END, payload["status"])))
    manager.get_event_bus().subscribe(BATCH, lambda payload: received.append((BATCH, payload["count"])))
    manager.launch(command=("true",), parent_session_id="me")
    eventually(lambda: len(received) == 2)
    assert received == [(END, "completed"), (BATCH, 1)]
    unsubscribe()


# without a supervisor, as in the seed


def task(number: int, parent: str | None = "me", status: TaskStatus = TaskStatus.COMPLETED) -> Task:
    moment = clock.to_datetime(clock.now())
    return Task(
        id=f"bg-{number}",
        agent="a",
        concurrency_key="a",
        cwd="/",
        status=status,
        queued_at=moment,
        parent_session_id=parent,
    )


class Dispatched:
    """Collects what an event bus dispatches."""

    def __init__(self, bus: EventBus) -> None:
        self.batches: list[dict] = []
        self.ends: list[str] = []
        self.notices: list[dict] = []
        bus.subscribe(BATCH, lambda payload: self.batches.append(dict(payload)))
        bus.subscribe(END, lambda payload: self.ends.append(payload["taskId"]))
        bus.subscribe("background_tasks_notification", lambda payload: self.notices.append(dict(payload)))


def test_notification_manager_batches_with_its_own_timer():
    manager = create_notification_manager(NotificationConfig(batch_window_ms=50))
    dispatched = Dispatched(manager.get_event_bus())
    for number in range(3):
        manager.notify(task(number))
    assert (dispatched.ends, dispatched.batches) == (["bg-0", "bg-1", "bg-2"], [])
    eventually(lambda: dispatched.batches)
    assert [batch["count"] for batch in dispatched.batches] == [3]
    (notice,) = dispatched.notices
    assert (notice["taskIds"], notice["source"]) == (["bg-0", "bg-1", "bg-2"], "background-manager")


def test_notification_manager_flushes_full_batches_and_on_demand():
    now = [0.0]
    bus = EventBus()
    manager = NotificationManager(event_bus=bus, clock=lambda: now[0])
    assert manager.get_event_bus() is bus
    dispatched = Dispatched(bus)
    for number in range(9):
        manager.notify(task(number, parent=("me", "other")[number % 2]))
    assert [(batch["parentSessionId"], batch["count"]) for batch in dispatched.batches] == [("me", 5)]
    assert manager.due() == 1.0
    now[0] = 0.4
    assert manager.due() == pytest.approx(0.6)
    manager.flush_parent("other")
    assert [(batch["parentSessionId"], batch["count"]) for batch in dispatched.batches][1:] == [("other", 4)]
    assert manager.due() is None
    manager.notify(task(10, parent="a"))
    manager.notify(task(11, parent="b"))
    manager.flush_all()
    assert [batch["parentSessionId"] for batch in dispatched.batches][2:] == ["a", "b"]
    manager.notify(task(12, parent="a"))
    manager.clear()
    manager.flush_all()
    assert len(dispatched.batches) == 4


def test_task_without_a_parent_is_in_no_batch():
    manager = NotificationManager(clock=lambda: 0.0)
    dispatched = Dispatched(manager.get_event_bus())
    manager.notify(task(1, parent=None))
    manager.flush_all()
    assert (dispatched.batches, manager.due()) == ([], None)


def test_event_bus_dispatches_to_subscribers_until_they_unsubscribe():
    bus, dispatched = EventBus(), []
    unsubscribe = bus.subscribe("a", lambda payload: dispatched.append(("a", dict(payload))))
    bus.subscribe("*", lambda payload: dispatched.append(("*", payload["type"])))
    bus.dispatch("a", {"x": 1})
    bus.dispatch("b", {})
    unsubscribe()
    bus.dispatch("a", {"x": 2})
    assert dispatched == [("a", {"x": 1}), ("*", "a"), ("*", "b"), ("*", "a")]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((1, 1, 0), "1 background task completed successfully."),
        ((4, 4, 0), "4 background tasks completed successfully."),
        ((1, 0, 1), "1 background task failed."),
        ((3, 0, 3), "3 background tasks failed."),
        ((1, 0, 0), "1 background task cancelled."),
        ((2, 0, 0), "2 background tasks cancelled."),
        ((5, 4, 1), "5 background tasks finished: 4 completed, 1 failed."),
        ((5, 4, 0), "5 background tasks finished: 4 completed, 1 cancelled."),
        ((5, 0, 2), "5 background tasks finished: 2 failed, 3 cancelled."),
        ((6, 1, 2), "6 background tasks finished: 1 completed, 2 failed, 3 cancelled."),
    ],
)
def test_batch_message_names_each_outcome_with_its_count(counts: tuple[int, int, int], message: str):
    assert format_batch_notification(*counts) == message


def test_batches_carry_the_message_of_their_outcomes(manager: BackgroundManager):
    with Subscription(manager.home, "me") as received:
        for verb in ("complete", "fail", "cancel"):
            id = running(manager, parent_session_id="me").id
            {
                "complete": manager.complete_task,
                "fail": lambda id: manager.fail_task(id, "no"),
                "cancel": manager.cancel_task,
            }[verb](id)
            count = len(received.of(BATCH))
            with Client(Home(manager.home)) as client:
                client.call("flush", parentSessionId="me")
            eventually(lambda count=count: len(received.of(BATCH)) > count)
    assert [batch["message"] for batch in received.of(BATCH)] == [
        "1 background task completed successfully.",
        "1 background task failed.",
        "1 background task cancelled.",
    ]


def test_every_public_name_can_be_imported():
    script = f"import sys; sys.path.append({str(IMPORT_ROOT)!r}); import backburner, json\n" + (
        "print(json.dumps([name for name in backburner.__all__ if not hasattr(backburner, name)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True, env={**os.environ}
    )
    assert json.loads(done.stdout) == []
