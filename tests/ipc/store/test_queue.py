"""Changes of the status of tasks: their effects and their refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import Ambiguous, InvalidInput, MoveNotAllowed, NotFound, OverCap, UnknownAgent
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import Lock
from backburner.ipc.model.claim import Ended, Slot, Step, Verdict
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.query import Filter
from backburner.ipc.model.task import BRIEF_LIMIT, RESULT_LIMIT, Task, TaskStatus
from backburner.ipc.store.sessions import adopt
from backburner.ipc.store.tasks import SUPERVISED_FOR
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"
OWN = "bg-11111111-2222-4333-8444-555555555555"


def test_launched_task_is_pending_and_has_its_input(queue_db):
    id = queue_db.launch(
        command=("echo", "hi"),
        model="opus",
        parent_session_id="ses-1",
        parent_message_id="msg-1",
        description="greet",
        metadata={"a": [1]},
        priority=3,
        retries=2,
        timeout_ms=1500,
        cwd="/",
    )
    task = queue_db.get(id)
    assert task.status is TaskStatus.PENDING
    assert (task.agent, task.model, task.concurrency_key) == ("command", "opus", "opus")
    assert (task.command, task.cwd, task.metadata) == (("echo", "hi"), "/", {"a": [1]})
    assert (task.attempt, task.max_attempts, task.timeout_ms, task.priority) == (0, 3, 1500, 3)
    assert task.waiting_for == "supervisor"


def test_key_defaults_to_the_model_or_the_agent(queue_db):
    keys = [
        queue_db.get(queue_db.launch(**wanted)).concurrency_key
        for wanted in ({"model": "m", "concurrency_key": "k"}, {"model": "m"}, {})
    ]
    assert keys == ["k", "m", "command"]


def test_many_launches_are_accepted_all_or_none(queue_db):
    good = LaunchInput(command=("true",))
    with pytest.raises(UnknownAgent, match=r"tasks\[1\]"):
        queue_db.queue.launch_many([good, LaunchInput(prompt="p", agent="unknown")])
    assert queue_db.queue.unfinished() == []
    ids = [launched.id for launched in queue_db.queue.launch_many([good] * 3)]
    assert queue_db.queue.unfinished() == ids


def test_repeated_launch_with_an_id_returns_the_existing_task(queue_db):
    again = LaunchInput(id=OWN, command=("true",), cwd="/")
    assert [queue_db.queue.launch(again).existing for _ in range(2)] == [False, True]
    with pytest.raises(InvalidInput, match="another input") as refusal:
        queue_db.queue.launch(LaunchInput(id=OWN, command=("false",), cwd="/"))
    assert refusal.value.field == "id"


def test_unique_name_is_held_by_an_unfinished_task(queue_db):
    first = queue_db.launch(unique_key="nightly")
    assert queue_db.launch(unique_key="nightly", command=("false",)) == first
    claimed = queue_db.start(first)
    assert queue_db.launch(unique_key="nightly") == first
    queue_db.settle(claimed)
    assert queue_db.launch(unique_key="nightly") != first


def test_retry_is_refused_while_another_task_holds_the_unique_name(queue_db):
    failed = queue_db.run(TaskStatus.ERROR, unique_key="nightly")
    queue_db.launch(unique_key="nightly")
    with pytest.raises(MoveNotAllowed, match="nightly"):
        queue_db.queue.retry(failed)
    assert queue_db.get(failed).status is TaskStatus.ERROR


def test_launch_beyond_the_cap_of_a_session_is_refused(open_queue):
    with open_queue(max_tasks_per_parent=2) as queue_db:
        first = queue_db.launch(parent_session_id="ses-1")
        queue_db.launch(parent_session_id="ses-1")
        with pytest.raises(OverCap) as refusal:
            queue_db.launch(parent_session_id="ses-1")
        assert refusal.value.field == "parentSessionId"
        queue_db.launch(parent_session_id="ses-2")
        queue_db.launch()
        queue_db.queue.cancel(first)
        queue_db.launch(parent_session_id="ses-1")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"command": ("a",), "call": "m:f"}, "command"),
        ({"command": ("a",), "stdin": "x", "stdin_file": "y"}, "stdin"),
        ({"command": ("a",), "args": (1,)}, "call"),
        ({"agent": "command", "prompt": "p"}, "command"),
        ({"agent": "python", "prompt": "p"}, "call"),
        ({"agent": "external", "command": ("a",), "prompt": "p"}, "agent"),
        ({"prompt": "p"}, "agent"),
        ({"prompt": "p", "agent": "unknown"}, "agent"),
        ({"command": ("a",), "stdin_file": "is-not-there"}, "stdinFile"),
        ({"agent": "external", "prompt": "p" * 1024 * 1024}, "prompt"),
    ],
)
def test_inconsistent_launch_is_refused_with_its_field(queue_db, wanted, field):
    with pytest.raises(InvalidInput) as refusal:
        queue_db.queue.launch(LaunchInput(**wanted))
    assert refusal.value.field == field
    assert queue_db.queue.unfinished() == []


def test_missing_file_within_the_state_directory_is_refused(queue_db):
    with pytest.raises(InvalidInput) as refusal:
        queue_db.queue.launch(LaunchInput(command=("a",), stdin_file=str(queue_db.home.input("is-not-there"))))
    assert refusal.value.field == "stdinFile"


def test_tasks_of_one_launch_get_their_own_groups_and_sessions(open_queue):
    with open_queue(model_concurrency={"a*": 1}) as queue_db:
        adopt(queue_db.store, "old", "new")
        pairs = [("a1", "old"), ("b", "old"), ("a1", None), ("a1", "ses-1"), ("b", "old")]
        for _ in range(2):  # the keys are unknown at first
            inputs = [LaunchInput(command=("x",), concurrency_key=key, parent_session_id=of) for key, of in pairs]
            tasks = [queue_db.get(launched.id) for launched in queue_db.queue.launch_many(inputs)]
            found = [(task.concurrency_key, task.parent_session_id) for task in tasks]
            assert found == [("a1", "new"), ("b", "new"), ("a1", None), ("a1", "ses-1"), ("b", "new")]
        assert {(group.name, group.pending) for group in queue_db.groups.all()} == {("a*", 6), ("b", 4)}


def test_key_is_usable_again_after_its_idle_group_was_deleted(queue_db):
    queue_db.run(concurrency_key="k")
    assert queue_db.store.maintenance.delete_idle_groups(9) == 1
    queue_db.start(queue_db.launch(concurrency_key="k"), "k")


def test_answer_to_a_launch_is_the_task_as_it_is_stored(queue_db):
    first = queue_db.launch()
    inputs = [
        LaunchInput(command=("a", "b"), env={"A": "1"}, metadata={"a": 1}, priority=3, parent_session_id="ses-1"),
        LaunchInput(call="m:f", args=(1, "a"), kwargs={"b": None}, timeout_ms=5, retries=2, unique_key="u"),
        LaunchInput(agent="external", prompt="p", delay_ms=9000, after=(first,), description="d"),
    ]
    answer = queue_db.queue.launched_tasks(queue_db.queue.accept(inputs))
    assert answer == [queue_db.get(task.id) for task in answer]
    assert all(vars(task).keys() == {field.name for field in fields(Task)} for task in answer)


def test_start_of_a_supervisor_is_seen_at_once_and_its_end_soon(queue_db):
    id = queue_db.launch()
    lock = Lock(queue_db.home.lock("supervisor"))
    assert queue_db.get(id).waiting_for == "supervisor"
    assert lock.acquire()
    assert queue_db.get(id).waiting_for is None
    lock.release()
    assert eventually(lambda: queue_db.get(id).waiting_for == "supervisor", SUPERVISED_FOR + 5)


# notifying the supervisor


@pytest.fixture
def hints(home) -> Iterator[Callable[[], bytes]]:
    """Return a function that reads the hints that the supervisor was sent since the last call."""
    pipe = os.open(Home(home).prepare().folder / "supervisor.wake", os.O_RDWR | os.O_NONBLOCK)

    def read() -> bytes:
        os.write(pipe, b"|")
        return os.read(pipe, 65536).removesuffix(b"|")

    yield read
    os.close(pipe)


def test_supervisor_is_notified_of_a_task_that_may_start(queue_db, hints):
    queue_db.launch(concurrency_key="a")
    assert hints() == b'["a"]\n'
    queue_db.queue.launch_many([LaunchInput(command=("x",), concurrency_key=key) for key in "bab"])
    assert hints() == b'["a", "b"]\n'


@pytest.fixture
def full(open_queue) -> Iterator[QueueDatabase]:
    """Open a queue whose group `command` has one slot, which is in use."""
    with open_queue(default_concurrency=1) as queue_db:
        queue_db.start(queue_db.launch())
        yield queue_db


def test_supervisor_is_not_notified_of_a_task_in_a_full_group(full, hints):
    full.launch()
    assert hints() == b""
    full.queue.launch_many([LaunchInput(command=("x",), model=model) for model in (None, "opus")])
    assert hints() == b'["opus"]\n'


def test_supervisor_is_not_notified_of_a_task_of_a_paused_key(queue_db, hints):
    queue_db.groups.pause("command")
    assert hints() == b"limits\n"
    queue_db.launch()
    assert hints() == b""
    queue_db.groups.resume("command")
    assert hints() == b"limits\n"


def test_supervisor_is_notified_of_a_due_time_though_the_group_is_full(full, hints):
    full.launch(delay_ms=1000)
    assert hints() == b'["command"]\n'


def test_supervisor_is_notified_of_an_expiry_though_the_group_is_full(open_queue, hints):
    with open_queue(default_concurrency=1, max_queue_wait_s=9) as queue_db:
        queue_db.start(queue_db.launch())
        hints()
        queue_db.launch()
        assert hints() == b'["command"]\n'


# claiming


def test_claim_takes_the_highest_priority_then_the_oldest(queue_db):
    low, old, new, high = (queue_db.launch(priority=priority) for priority in (-1, 0, 0, 7))
    assert [queue_db.claim(slot=slot).id for slot in range(3)] == [high, old, new]
    assert queue_db.get(low).status is TaskStatus.PENDING


def test_claim_never_exceeds_the_limit(open_queue):
    with open_queue(model_concurrency={"opus": 2}) as queue_db:
        ids = [queue_db.launch(model="opus") for _ in range(3)]
        first = queue_db.start(ids[0], "opus", 0)
        assert queue_db.claim("opus", 0) is None
        assert queue_db.claim("opus", 2) is None
        queue_db.start(ids[1], "opus", 1)
        assert queue_db.claim("opus", 1) is None
        queue_db.settle(first)
        queue_db.start(ids[2], "opus", 0)


def test_limit_of_zero_allows_any_number(open_queue):
    with open_queue(default_concurrency=0) as queue_db:
        ids = [queue_db.launch() for _ in range(9)]
        assert [queue_db.claim(slot=slot).id for slot in range(9)] == ids


def test_claim_numbers_are_never_given_twice(queue_db):
    numbers = [queue_db.start(queue_db.launch()) for _ in range(1)]
    queue_db.settle(numbers[0])
    for _ in range(3):
        numbers.append(queue_db.start(queue_db.launch()))
        queue_db.settle(numbers[-1])
    claims = [claimed.claim for claimed in numbers]
    assert claims == sorted(set(claims))


def test_external_task_is_claimed_only_without_a_worker(queue_db):
    queue_db.launch(agent="external", prompt="by hand")
    assert queue_db.claim("external") is None
    assert queue_db.claim("external", owner=None).agent == "external"
    queue_db.launch()
    assert queue_db.claim("command", owner=None) is None


def test_step_ends_a_task_and_takes_the_next(queue_db):
    first, second = queue_db.launch(), queue_db.launch()
    slot = Slot("command", 0)
    (taken,) = queue_db.queue.take(slot, queue_db.owner, 1)
    assert taken.task.id == first
    ended = Ended(taken, taken.started_at, _done(taken))
    (following,) = queue_db.queue.advance(Step(slot, queue_db.owner, [ended], count=1)).taken
    assert (queue_db.get(first).status, queue_db.get(second).status) == ("completed", "running")
    assert (following.task.id, following.slot) == (second, slot)


def _done(claimed, status=TaskStatus.COMPLETED, **more):
    from backburner.ipc.model.claim import Settlement

    return Settlement(number=claimed.number, claim=claimed.claim, status=status, **more)


# settling


def test_old_claim_settles_nothing(queue_db):
    id = queue_db.launch(retries=1)
    stale = queue_db.start(id)
    queue_db.settle(stale, TaskStatus.PENDING, error="once", error_kind="exit")
    assert queue_db.settle(stale) is None
    current = queue_db.start(id)
    assert queue_db.settle(stale) is None
    assert (
        queue_db.queue.record_verdict(stale.number, stale.claim, Verdict(TaskStatus.ERROR, "late", "failed")) is False
    )
    assert queue_db.get(id).status is TaskStatus.RUNNING
    assert queue_db.settle(current) == "completed"
    assert queue_db.settle(current) is None


def test_end_is_one_event_with_its_result(queue_db):
    id = queue_db.launch(parent_session_id="ses-1")
    queue_db.settle(queue_db.start(id), result="42", exit_code=0, session="agent-1")
    task = queue_db.get(id)
    assert (task.result, task.exit_code, task.session_id, task.slot, task.pid) == ("42", 0, "agent-1", None, None)
    event = json.loads(queue_db.log.read("ses-1", 0, 9)[-1].text)
    assert event["type"] == "background_task_completed"
    assert (event["taskId"], event["status"], event["result"], event["error"]) == (id, "completed", "42", None)


def test_long_result_is_cut_in_the_task_and_shorter_in_its_event(queue_db):
    id = queue_db.launch(parent_session_id="ses-1")
    queue_db.settle(queue_db.start(id), result="ü" * RESULT_LIMIT)
    task = queue_db.get(id)
    assert len(task.result.encode()) == RESULT_LIMIT
    assert task.result_truncated
    assert len(json.loads(queue_db.log.read("ses-1", 0, 9)[-1].text)["result"].encode()) == BRIEF_LIMIT
    assert len(task.brief()["result"].encode()) == BRIEF_LIMIT


def test_automatic_retry_waits_and_continues_the_attempts(queue_db, later):
    id = queue_db.launch(retries=1)
    queue_db.settle(
        queue_db.start(id), TaskStatus.PENDING, error="no", error_kind="exit", not_before=clock.now() + 5000
    )
    task = queue_db.get(id)
    assert (task.status, task.attempt, task.waiting_for, task.error_kind) == (TaskStatus.PENDING, 1, "delay", "exit")
    assert queue_db.claim() is None
    later(5001)
    queue_db.queue.promote()
    assert queue_db.start(id).attempt == 2
    assert "background_task_retrying" in queue_db.event_types()


def test_unused_attempt_does_not_count(queue_db):
    id = queue_db.launch()
    queue_db.settle(queue_db.start(id), TaskStatus.PENDING, error="died", error_kind="interrupted", unused=True)
    claimed = queue_db.start(id)
    assert (claimed.attempt, claimed.interruptions) == (1, 1)


# verdicts of users


def test_the_first_verdict_wins(queue_db):
    id = queue_db.launch()
    claimed = queue_db.start(id)
    queue_db.queue.complete(id, "mine")
    for verdict in (
        lambda: queue_db.queue.complete(id, "other"),
        lambda: queue_db.queue.fail(id, "no"),
        lambda: queue_db.queue.cancel(id),
    ):
        with pytest.raises(MoveNotAllowed, match="already being ended"):
            verdict()
    assert queue_db.get(id).stopping
    assert queue_db.settle(claimed, TaskStatus.ERROR, exit_code=9) == "completed"
    task = queue_db.get(id)
    assert (task.status, task.result, task.error, task.error_kind, task.exit_code) == (
        "completed",
        "mine",
        None,
        None,
        9,
    )


def test_pending_task_is_cancelled_at_once_and_never_starts(queue_db):
    id = queue_db.launch(parent_session_id="ses-1")
    assert queue_db.queue.cancel(id).status is TaskStatus.CANCELLED
    assert queue_db.claim() is None
    assert queue_db.event_types("ses-1") == ["background_task_completed"]


def test_running_task_is_cancelled_when_its_worker_settles_it(queue_db):
    id = queue_db.launch()
    claimed = queue_db.start(id)
    assert queue_db.queue.cancel(id).status is TaskStatus.RUNNING
    queue_db.queue.cancel(id)
    assert queue_db.settle(claimed, TaskStatus.ERROR, signal=15) == "cancelled"


def test_cancel_all_cancels_many_tasks_per_transaction(queue_db, monkeypatch):
    ended, external = queue_db.run(), queue_db.launch(agent="external", prompt="x")
    assert queue_db.claim("external", owner=None) is not None
    running, decided = queue_db.launch(concurrency_key="a"), queue_db.launch(concurrency_key="b")
    first, second = queue_db.claim("a"), queue_db.claim("b")
    queue_db.queue.record_verdict(second.number, second.claim, Verdict(TaskStatus.ERROR, "no", "failed"))
    pending = [queue_db.launch() for _ in range(250)]
    calls = []
    cancel_many = queue_db.store.queue.cancel_many
    monkeypatch.setattr(queue_db.store.queue, "cancel_many", lambda ids: calls.append(len(ids)) or cancel_many(ids))
    cancelled = queue_db.queue.cancel_all([ended, external, running, decided, "bg-unknown", *pending])
    assert cancelled == [external, running, *pending]
    assert calls == [100, 100, 55]
    assert {str(queue_db.get(id).status) for id in (external, *pending)} == {"cancelled"}
    assert (queue_db.get(running).status, queue_db.get(running).stopping) == ("running", True)
    assert queue_db.settle(first) == "cancelled"
    assert queue_db.settle(second) == "error"
    assert queue_db.get(ended).status == "completed"
    assert queue_db.queue.cancel_all([running, *pending]) == []


@pytest.mark.parametrize("status", [status for status in TaskStatus if status.ended])
def test_ended_task_keeps_its_status(queue_db, status):
    id = queue_db.run(status)
    for verdict in (queue_db.queue.cancel, queue_db.queue.complete, lambda id: queue_db.queue.fail(id, "no")):
        with pytest.raises(MoveNotAllowed):
            verdict(id)
    assert queue_db.get(id).status is status
    assert queue_db.event_types().count("background_task_completed") == 1


def test_pending_task_cannot_be_completed_or_report_progress(queue_db):
    id = queue_db.launch()
    with pytest.raises(MoveNotAllowed):
        queue_db.queue.complete(id)
    with pytest.raises(MoveNotAllowed):
        queue_db.queue.progress(id, "half")
    assert queue_db.get(id).status is TaskStatus.PENDING


def test_external_task_is_settled_by_its_verdict(queue_db):
    id = queue_db.launch(agent="external", prompt="by hand")
    queue_db.claim("external", owner=None)
    assert queue_db.queue.progress(id, "half").progress == "half"
    task = queue_db.queue.complete(id, "done")
    assert (task.status, task.result, task.slot) == (TaskStatus.COMPLETED, "done", None)


def test_unknown_tasks_are_not_found(queue_db):
    for call in (queue_db.queue.get, queue_db.queue.cancel, queue_db.queue.complete, queue_db.queue.retry):
        with pytest.raises(NotFound):
            call(UNKNOWN)


# retrying by hand


@pytest.mark.parametrize("status", [TaskStatus.ERROR, TaskStatus.CANCELLED])
def test_retry_by_a_user_adds_attempts(queue_db, status):
    id = queue_db.run(status, retries=2)
    task = queue_db.queue.retry(id)
    assert (task.status, task.attempt, task.max_attempts) == (TaskStatus.PENDING, 1, 6)
    assert (task.error, task.error_kind, task.completed_at) == (None, None, None)
    assert queue_db.start(id).attempt == 2


def test_retry_of_a_completed_task_is_refused(queue_db):
    with pytest.raises(MoveNotAllowed, match="completed"):
        queue_db.queue.retry(queue_db.run())


def test_batch_has_the_end_of_a_task_that_was_retried_since(queue_db):
    id = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    queue_db.queue.retry(id)
    queue_db.settle(queue_db.start(id), result="better")
    for _ in range(2):
        queue_db.log.form_batch("ses-1", 1)
    batches = [
        json.loads(line.text) for line in queue_db.log.read("ses-1", 0, 99) if line.type == "background_tasks_batch"
    ]
    assert [batch["tasks"][0]["status"] for batch in batches] == ["error", "completed"]
    assert [batch["failedCount"] for batch in batches] == [1, 0]
    assert [batch["allComplete"] for batch in batches] == [False, True]


def test_retried_task_joins_the_present_group_of_its_key(open_queue):
    with open_queue() as queue_db:
        id = queue_db.run(TaskStatus.ERROR, concurrency_key="anthropic/opus")
    with open_queue(model_concurrency={"anthropic/*": 1}) as queue_db:
        queue_db.groups.configure()
        queue_db.queue.retry(id)
        queue_db.launch(concurrency_key="anthropic/haiku")
        assert queue_db.claim("anthropic/opus") is None
        queue_db.start(id, "anthropic/*")
        assert queue_db.claim("anthropic/*", 1) is None


# time


def test_delayed_task_waits_for_its_time(queue_db, later):
    id = queue_db.launch(delay_ms=60_000)
    assert queue_db.get(id).waiting_for == "delay"
    assert queue_db.claim() is None
    due = queue_db.queue.store.queue.next_due()
    assert abs(due - clock.now() - 60_000) < 5_000
    queue_db.queue.promote()
    assert queue_db.claim() is None
    later(60_001)
    assert queue_db.queue.promote() == {"command"}
    queue_db.start(id)


def test_task_that_waits_too_long_expires(open_queue, later):
    with open_queue(max_queue_wait_s=10) as queue_db:
        id = queue_db.launch(parent_session_id="ses-1")
        delayed = queue_db.launch(delay_ms=20_000)
        later(10_001)
        queue_db.queue.promote()
        task = queue_db.get(id)
        assert (task.status, task.error_kind) == (TaskStatus.ERROR, "expired")
        assert queue_db.get(delayed).status is TaskStatus.PENDING
        later(10_000)
        queue_db.queue.promote()
        assert queue_db.get(delayed).waiting_for == "supervisor"
        later(10_001)
        queue_db.queue.promote()
        assert queue_db.get(delayed).error_kind == "expired"


def test_external_task_times_out(queue_db, later):
    once = queue_db.launch(agent="external", prompt="by hand", timeout_ms=1000)
    queue_db.claim("external", owner=None)
    later(1001)
    queue_db.queue.promote()
    assert queue_db.get(once).error_kind == "timeout"
    assert queue_db.queue.store.queue.next_due() is None


# dependencies


def test_dependent_waits_until_all_have_completed(queue_db):
    first, second = queue_db.launch(), queue_db.launch()
    after = queue_db.launch(after=(first, second))
    assert queue_db.get(after).waiting_for == "dependency"
    assert queue_db.get(after).after == (first, second)
    queue_db.settle(queue_db.start(first))
    queue_db.queue.promote()
    second = queue_db.start(second)
    assert queue_db.claim(slot=1) is None
    queue_db.settle(second)
    assert queue_db.queue.store.queue.next_due() == 0
    assert queue_db.queue.promote() == {"command"}
    queue_db.start(after)


@pytest.mark.parametrize("status", [TaskStatus.ERROR, TaskStatus.CANCELLED])
def test_dependent_of_a_failed_task_fails_with_its_own_dependents(queue_db, status):
    first = queue_db.launch()
    second = queue_db.launch(after=(first,), parent_session_id="ses-1")
    third = queue_db.launch(after=(second,))
    anyway = queue_db.launch(after_any=(first,))
    queue_db.settle(queue_db.start(first), status)
    while queue_db.queue.store.queue.next_due() == 0:
        queue_db.queue.promote()
    assert [queue_db.get(id).error_kind for id in (second, third)] == ["dependency", "dependency"]
    queue_db.start(anyway)
    assert queue_db.event_types("ses-1") == ["background_task_completed"]


def test_launch_after_a_failed_task_is_accepted_and_fails_at_once(queue_db):
    failed, done = queue_db.run(TaskStatus.ERROR), queue_db.run()
    dependent = queue_db.launch(after=(failed,), parent_session_id="ses-1")
    assert (queue_db.get(dependent).status, queue_db.get(dependent).error_kind) == (TaskStatus.ERROR, "dependency")
    queue_db.start(queue_db.launch(after=(done,)))
    queue_db.start(queue_db.launch(after_any=(failed,)), slot=1)


def test_launch_after_an_unknown_task_is_refused(queue_db):
    with pytest.raises(NotFound) as refusal:
        queue_db.launch(after=(UNKNOWN,))
    assert refusal.value.field == "after"


def test_dependent_with_a_delay_waits_for_both(queue_db, later):
    first = queue_db.launch()
    both = queue_db.launch(after=(first,), delay_ms=1000)
    later(1001)
    queue_db.queue.promote()
    first = queue_db.start(first)
    assert queue_db.claim(slot=1) is None
    queue_db.settle(first)
    queue_db.queue.promote()
    queue_db.start(both)


def test_dependent_waits_for_its_delay_after_its_dependency(queue_db, later):
    both = queue_db.launch(after=(first := queue_db.launch(),), delay_ms=1000)
    queue_db.settle(queue_db.start(first))
    queue_db.queue.promote()
    assert queue_db.claim() is None
    later(1001)
    queue_db.queue.promote()
    queue_db.start(both)


def test_retry_keeps_unmet_dependencies(queue_db):
    first = queue_db.launch()
    after = queue_db.launch(after=(first,))
    queue_db.queue.cancel(after)
    queue_db.queue.retry(after)
    claimed = queue_db.start(first)
    assert queue_db.claim(slot=1) is None
    queue_db.settle(claimed)
    queue_db.queue.promote()
    queue_db.start(after)


def run(queue_db, id, status=TaskStatus.COMPLETED):
    """Run a task that must be the next one."""
    claimed = queue_db.start(id)
    queue_db.settle(claimed, status)
    queue_db.queue.promote()


def test_retried_chain_runs_in_its_order(queue_db):
    first = queue_db.launch()
    second = queue_db.launch(after=(first,))
    third = queue_db.launch(after=(second,))
    run(queue_db, first, TaskStatus.ERROR)
    queue_db.queue.promote()
    for id in (first, second, third):
        queue_db.queue.retry(id)
    for id in (first, second, third):
        run(queue_db, id)


def test_task_retried_before_its_failed_dependency_ends_again(queue_db):
    first = queue_db.launch()
    second = queue_db.launch(after=(first,))
    run(queue_db, first, TaskStatus.ERROR)
    task = queue_db.queue.retry(second)
    assert (task.status, task.error_kind) == (TaskStatus.ERROR, "dependency")
    assert task.error == f"Its dependency {first} failed."
    queue_db.queue.promote()
    assert queue_db.claim() is None


def test_retried_task_waits_for_any_end_of_a_retried_dependency(queue_db):
    first = queue_db.launch()
    second = queue_db.launch(after_any=(first,))
    run(queue_db, first, TaskStatus.ERROR)
    run(queue_db, second, TaskStatus.ERROR)
    queue_db.queue.retry(first)
    assert queue_db.queue.retry(second).waiting_for == "dependency"
    run(queue_db, first, TaskStatus.ERROR)
    run(queue_db, second)


def test_retried_task_whose_dependency_was_deleted_runs(queue_db):
    first = queue_db.launch()
    second = queue_db.launch(after=(first,))
    run(queue_db, first)
    run(queue_db, second, TaskStatus.ERROR)
    forever = 2**62
    (old,) = [task for task in queue_db.store.maintenance.old_tasks((0, 0), forever, forever, 1)]
    assert queue_db.store.maintenance.delete_tasks([old], forever) == [old]
    queue_db.queue.retry(second)
    run(queue_db, second)


def test_task_without_its_failed_dependency_is_not_retried(queue_db):
    first = queue_db.launch()
    second = queue_db.launch(after=(first,))
    run(queue_db, first, TaskStatus.ERROR)
    queue_db.queue.remove([first])
    with pytest.raises(MoveNotAllowed, match=r"was deleted; .* --like"):
        queue_db.queue.retry(second)
    assert queue_db.get(second).error_kind == "dependency"
    queue_db.queue.promote()
    assert queue_db.claim() is None


# reading


def test_lists_are_newest_first_with_filters_and_pages(queue_db):
    ids = [queue_db.launch(parent_session_id=f"ses-{number % 2}", model=f"m-{number % 3}") for number in range(7)]
    queue_db.queue.cancel(ids[6])

    def listed(**which):
        return [task.id for task in queue_db.queue.list(Filter(**which)).tasks]

    assert listed() == ids[::-1]
    assert listed(parent="ses-1") == [ids[5], ids[3], ids[1]]
    assert listed(model="m-0") == [ids[6], ids[3], ids[0]]
    assert listed(statuses=[TaskStatus.CANCELLED]) == [ids[6]]
    assert listed(statuses=[TaskStatus.PENDING], parent="ses-0") == [ids[4], ids[2], ids[0]]
    page = queue_db.queue.list(Filter(limit=4))
    rest = queue_db.queue.list(Filter(limit=4, cursor=page.next))
    assert [task.id for task in page.tasks + rest.tasks] == ids[::-1]
    assert rest.next is None


def test_lists_by_tag_have_the_tasks_with_all_of_them(queue_db):
    both = queue_db.launch(tags=["docs", "nightly"], parent_session_id="ses-1")
    one = queue_db.launch(tags=["nightly"])
    queue_db.launch()
    failed = queue_db.launch(tags=["docs"])
    queue_db.queue.cancel(failed)

    def listed(*tags, **which):
        return [task.id for task in queue_db.queue.list(Filter(tags=tags, **which)).tasks]

    assert listed("nightly") == [one, both]
    assert listed("nightly", "docs") == [both]
    assert listed("docs", parent="ses-1") == [both]
    assert listed("docs", statuses=[TaskStatus.PENDING]) == [both]
    assert listed("docs", statuses=[TaskStatus.CANCELLED]) == [failed]
    assert listed("night") == []


def test_tasks_are_found_by_a_unique_prefix(queue_db):
    ids = [queue_db.launch() for _ in range(2)]
    assert queue_db.queue.find(ids[0]) == ids[0]
    assert queue_db.queue.find(ids[0].removeprefix("bg-")[:20]) == ids[0]
    assert queue_db.queue.find("-") == ids[1]
    with pytest.raises(NotFound):
        queue_db.queue.find("zzz")
    with pytest.raises(Ambiguous):
        queue_db.queue.find("bg-")


def test_output_is_read_in_pieces_from_the_store_or_the_file(queue_db):
    id = queue_db.launch()
    assert queue_db.queue.output(id, "stdout", 0, 9).eof is False
    claimed = queue_db.start(id)
    queue_db.home.output(claimed.claim, "stdout").write_bytes(b"0123456789")
    piece = queue_db.queue.output(id, "stdout", 4, 4)
    assert (piece.data, piece.offset, piece.eof) == (b"4567", 8, False)
    queue_db.settle(claimed, outputs=(("stdout", b"0123456789"),))
    queue_db.home.output(claimed.claim, "stdout").unlink()
    piece = queue_db.queue.output(id, "stdout", 4, 9)
    assert (piece.data, piece.offset, piece.eof) == (b"456789", 10, True)
    assert queue_db.queue.output(id, "stderr", 0, 9).eof


def test_pending_task_shows_what_it_waits_for(open_queue):
    with open_queue(default_concurrency=1) as queue_db:
        first, second = queue_db.launch(), queue_db.launch()
        queue_db.start(first)
        queue_db.groups.pause("other")
        paused = queue_db.launch(concurrency_key="other")
        assert queue_db.get(paused).waiting_for == "paused"
        assert queue_db.get(second).waiting_for == "supervisor"
        assert queue_db.get(first).waiting_for is None
