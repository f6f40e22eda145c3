"""Batches: when one is formed, its content, and its message."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.errors import InvalidInput
from backburner.ipc.model.batch import (
    BatchWindow,
    NotificationConfig,
    NotificationManager,
    batch_payload,
    create_notification_manager,
    format_batch_notification,
)
from backburner.ipc.model.event import EventBus
from backburner.ipc.model.task import Task, TaskStatus

TIMEOUT = 20.0


def a_task(name: str, status: TaskStatus = TaskStatus.COMPLETED, parent: str | None = "p") -> Task:
    return Task(
        id=f"bg-{name}",
        agent="command",
        concurrency_key="command",
        cwd="/",
        status=status,
        queued_at=datetime(2026, 1, 1, tzinfo=UTC),
        parent_session_id=parent,
        prompt="secret",
        result="done" if status is TaskStatus.COMPLETED else None,
    )


class Dispatched:
    """All payloads that a bus dispatched."""

    def __init__(self, bus: EventBus) -> None:
        self.payloads: list = []
        bus.subscribe("*", self.payloads.append)

    def of(self, type: str) -> list:
        return [payload for payload in self.payloads if payload["type"] == type]

    @property
    def batches(self) -> list[list[str]]:
        return [[task["id"] for task in batch["tasks"]] for batch in self.of("background_tasks_batch")]


class ManualClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def manager(clock):
    return NotificationManager(clock=clock)


@pytest.fixture
def window(clock):
    return BatchWindow(NotificationConfig(), clock)


@pytest.fixture
def dispatched(manager):
    return Dispatched(manager.get_event_bus())


def test_end_of_a_task_is_dispatched_at_once(manager, dispatched):
    manager.notify(a_task("1"))
    assert dispatched.payloads == [
        {
            "type": "background_task_completed",
            "taskId": "bg-1",
            "sessionId": None,
            "parentSessionId": "p",
            "status": "completed",
            "result": "done",
            "error": None,
            "errorKind": None,
        }
    ]


def test_batch_is_formed_when_its_window_ends(manager, dispatched, clock):
    manager.notify(a_task("1"))
    clock.now += 0.75
    manager.notify(a_task("2"))
    assert manager.due() == 0.25
    manager.flush_due()
    assert dispatched.batches == []
    clock.now += 0.25
    assert manager.due() == 0
    manager.flush_due()
    assert dispatched.batches == [["bg-1", "bg-2"]]
    assert manager.due() is None


def test_full_batch_is_formed_at_once_and_the_next_one_gets_a_new_window(manager, dispatched, clock):
    for number in range(5):
        clock.now += 0.125
        manager.notify(a_task(str(number)))
    assert dispatched.batches == [["bg-0", "bg-1", "bg-2", "bg-3", "bg-4"]]
    assert manager.due() is None
    manager.notify(a_task("5"))
    assert manager.due() == 1.0


def test_parents_have_separate_batches(manager, dispatched, clock):
    for number in range(4):
        manager.notify(a_task(f"p{number}", parent="p"))
        manager.notify(a_task(f"q{number}", parent="q"))
    manager.flush_parent("q")
    assert dispatched.batches == [["bg-q0", "bg-q1", "bg-q2", "bg-q3"]]
    manager.flush_all()
    assert dispatched.batches[1:] == [["bg-p0", "bg-p1", "bg-p2", "bg-p3"]]


def test_task_without_a_parent_is_dispatched_but_never_in_a_batch(manager, dispatched):
    for number in range(7):
        manager.notify(a_task(str(number), parent=None))
    assert manager.due() is None
    manager.flush_all()
    assert len(dispatched.of("background_task_completed")) == len(dispatched.payloads) == 7


def test_content_of_a_batch(manager, dispatched):
    manager.notify(a_task("1"))
    manager.notify(a_task("2", TaskStatus.ERROR))
    manager.notify(a_task("3", TaskStatus.CANCELLED))
    manager.flush_parent("p")
    (batch,) = dispatched.of("background_tasks_batch")
    tasks = batch.pop("tasks")
    assert [task["id"] for task in tasks] == ["bg-1", "bg-2", "bg-3"]
    assert "prompt" not in tasks[0]
    assert batch == {
        "type": "background_tasks_batch",
        "parentSessionId": "p",
        "count": 3,
        "completedCount": 1,
        "failedCount": 1,
        "cancelledCount": 1,
        "allComplete": True,
        "message": "3 background tasks finished: 1 completed, 1 failed, 1 cancelled.",
    }
    assert dispatched.payloads[-1] == {
        "type": "background_tasks_notification",
        "parentSessionId": "p",
        "taskIds": ["bg-1", "bg-2", "bg-3"],
        "count": 3,
        "completedCount": 1,
        "failedCount": 1,
        "source": "background-manager",
    }


def test_all_complete_is_false_while_a_task_of_the_parent_is_unfinished(manager, dispatched):
    manager.notify(a_task("slow", TaskStatus.RUNNING))
    manager.notify(a_task("quick"))
    manager.flush_parent("p")
    manager.notify(a_task("slow"))
    manager.flush_parent("p")
    assert [batch["allComplete"] for batch in dispatched.of("background_tasks_batch")] == [False, True]


def test_task_that_has_not_ended_is_not_dispatched(manager, dispatched):
    manager.notify(a_task("1", TaskStatus.PENDING))
    manager.flush_all()
    assert dispatched.payloads == []
    assert manager.due() is None


def test_clear_forgets_waiting_tasks_without_a_batch(manager, dispatched):
    manager.notify(a_task("1"))
    manager.clear()
    manager.flush_all()
    assert dispatched.batches == []
    assert manager.due() is None


def test_flush_without_waiting_tasks_dispatches_nothing(manager, dispatched):
    manager.flush_parent("unknown")
    manager.flush_all()
    manager.flush_due()
    assert dispatched.payloads == []


def test_handler_may_notify_the_manager(manager, dispatched):
    again = iter([a_task("2")])
    bus = manager.get_event_bus()
    bus.subscribe("background_tasks_batch", lambda batch: [manager.notify(task) for task in again])
    manager.notify(a_task("1"))
    manager.flush_all()
    manager.flush_all()
    assert dispatched.batches == [["bg-1"], ["bg-2"]]


class FailsOnce(NotificationManager):
    """A manager that cannot announce its first batch."""

    failures = 1

    def announce(self, parent: str, tasks: Sequence[Task]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full")
        super().announce(parent, tasks)


def test_batch_that_cannot_be_announced_waits_for_another_window(clock):
    manager = FailsOnce(clock=clock)
    dispatched = Dispatched(manager.get_event_bus())
    manager.notify(a_task("1"))
    clock.now += 1
    with pytest.raises(OSError, match="disk full"):
        manager.flush_due()
    manager.notify(a_task("2"))
    assert manager.due() == 1.0
    clock.now += 1
    manager.flush_due()
    assert dispatched.batches == [["bg-1", "bg-2"]]


def test_manager_with_a_clock_starts_no_thread(manager):
    before = threading.active_count()
    manager.notify(a_task("1"))
    assert threading.active_count() == before


def test_manager_without_a_clock_closes_its_windows():
    bus, batches = EventBus(), threading.Semaphore(0)
    bus.subscribe("background_tasks_batch", lambda batch: batches.release())
    manager = create_notification_manager(NotificationConfig(batch_window_ms=1), bus)
    for number in range(3):  # each after the thread of the one before may have left
        manager.notify(a_task(str(number)))
        assert batches.acquire(timeout=TIMEOUT)


def test_timer_continues_after_a_batch_that_cannot_be_announced(caplog):
    manager = FailsOnce(NotificationConfig(batch_window_ms=1))
    announced = threading.Event()
    manager.get_event_bus().subscribe("background_tasks_batch", lambda batch: announced.set())
    manager.notify(a_task("1"))
    assert announced.wait(TIMEOUT)
    assert "disk full" in caplog.text


def test_tasks_of_many_threads_are_each_in_one_batch():
    manager = NotificationManager(NotificationConfig(batch_window_ms=1, max_batch_size=3))
    dispatched, barrier = Dispatched(manager.get_event_bus()), threading.Barrier(5)

    def notify(thread: int) -> None:
        for number in range(100):
            manager.notify(a_task(f"{thread}-{number}"))
        barrier.wait(TIMEOUT)

    for thread in range(4):
        threading.Thread(target=notify, args=(thread,), daemon=True).start()
    barrier.wait(TIMEOUT)
    manager.flush_all()
    while sum(map(len, dispatched.batches)) < 400:  # the timer's thread may be just forming one
        manager.flush_all()
    assert sorted(id for batch in dispatched.batches for id in batch) == sorted(
        f"bg-{thread}-{number}" for thread in range(4) for number in range(100)
    )
    assert max(map(len, dispatched.batches)) <= 3


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((1, 1, 0), "1 background task completed successfully."),
        ((3, 3, 0), "3 background tasks completed successfully."),
        ((1, 0, 1), "1 background task failed."),
        ((3, 0, 3), "3 background tasks failed."),
        ((1, 0, 0), "1 background task cancelled."),
        ((2, 0, 0), "2 background tasks cancelled."),
        ((5, 4, 1), "5 background tasks finished: 4 completed, 1 failed."),
        ((3, 2, 0), "3 background tasks finished: 2 completed, 1 cancelled."),
        ((3, 0, 2), "3 background tasks finished: 2 failed, 1 cancelled."),
        ((6, 3, 2), "6 background tasks finished: 3 completed, 2 failed, 1 cancelled."),
        ((0, 0, 0), "0 background tasks completed successfully."),
    ],
)
def test_message_of_a_batch(counts, sentence):
    assert format_batch_notification(*counts) == sentence


def test_batch_payload_has_no_side_effects():
    tasks = [a_task("1"), a_task("2")]
    assert batch_payload("p", tasks, False) == batch_payload("p", tasks, False)
    assert batch_payload("p", tasks, False)["allComplete"] is False


def test_window_counts_the_tasks_that_fill_whole_batches(window):
    assert [window.add("p", count) for count in (4, 1, 7)] == [0, 5, 10]
    assert window.add("q") == 0


def test_tasks_left_over_after_a_batch_wait_for_a_new_window(window, clock):
    window.add("p", 7)
    clock.now += 0.75
    window.remove("p", 5)
    assert (window.waiting(), window.due()) == ({"p": 2}, 1.0)
    window.remove("p", 2)
    assert (window.waiting(), window.due()) == ({}, None)


def test_restarted_window_ends_after_the_others(window, clock):
    window.add("p", 3)
    clock.now += 0.5
    window.add("q")
    window.restart("p")
    clock.now += 1.0
    assert window.ended() == {"q": 1, "p": 3}
    window.restart("q")
    assert (window.ended(), window.due()) == ({"p": 3}, 0.0)
    window.close("p")
    assert (window.ended(), window.due()) == ({}, 1.0)


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.integers(0, 4), st.floats(0, 0.75))))
def test_windows_end_one_length_after_they_started(steps):
    clock = ManualClock()
    window, deadlines = BatchWindow(NotificationConfig(), clock), {}
    for parent, count, seconds in steps:
        clock.now += seconds
        if count:
            window.add(parent, count)
            deadlines.setdefault(parent, clock.now + 1.0)
        elif parent in deadlines:
            window.restart(parent)
            deadlines[parent] = clock.now + 1.0
        ended = {parent for parent, deadline in deadlines.items() if deadline <= clock.now}
        assert set(window.ended()) == ended
        assert window.due() == (max(0.0, min(deadlines.values()) - clock.now) if deadlines else None)


@pytest.mark.parametrize("field", ["batch_window_ms", "max_batch_size"])
def test_configuration_out_of_range_is_refused(field):
    with pytest.raises(InvalidInput) as refused:
        NotificationConfig(**{field: -1})
    assert refused.value.field == field


@given(
    st.integers(1, 4),
    st.lists(st.one_of(st.sampled_from("pq"), st.floats(0, 1.5), st.sampled_from(["flush"]))),
)
def test_every_ended_task_is_in_one_batch_in_order(size, steps):
    clock = ManualClock()
    manager = NotificationManager(NotificationConfig(max_batch_size=size), clock=clock)
    dispatched, ends = Dispatched(manager.get_event_bus()), {"p": [], "q": []}
    for number, step in enumerate(steps):
        if step == "flush":
            manager.flush_due()
        elif isinstance(step, float):
            clock.now += step
        else:
            ends[step].append(f"bg-{number}")
            manager.notify(a_task(str(number), parent=step))
    manager.flush_all()
    assert all(len(batch) <= size for batch in dispatched.batches)
    for parent, expected in ends.items():
        batches = [b for b in dispatched.of("background_tasks_batch") if b["parentSessionId"] == parent]
        assert [task["id"] for batch in batches for task in batch["tasks"]] == expected
