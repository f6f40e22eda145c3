"""Every change of a task's state: what it does, what it refuses, and who may make it."""

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
from backburner.ipc.model.claim import Ended, Slot, Step
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.model.task import BRIEF_LIMIT, RESULT_LIMIT, Task, TaskStatus
from backburner.ipc.store.sessions import adopt
from backburner.ipc.store.tasks import SUPERVISED_FOR
from backburner.ipc.store.values import Filter, Verdict
from tests.helpers.wait import eventually
from tests.helpers.yard import Yard

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"
OWN = "bg-11111111-2222-4333-8444-555555555555"


@pytest.fixture
def yard(home) -> Iterator[Yard]:
    with Yard(home) as found:
        yield found


@pytest.fixture
def later(monkeypatch):
    """Move the wall clock ahead by milliseconds."""
    passed = 0
    now = clock.now

    def pass_(milliseconds: int) -> None:
        nonlocal passed
        passed += milliseconds

    monkeypatch.setattr(clock, "now", lambda: now() + passed)
    return pass_


def test_a_launch_is_pending_and_knows_what_it_was_launched_with(yard):
    id = yard.launch(
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
    task = yard.get(id)
    assert task.status is TaskStatus.PENDING
    assert (task.agent, task.model, task.concurrency_key) == ("command", "opus", "opus")
    assert (task.command, task.cwd, task.metadata) == (("echo", "hi"), "/", {"a": [1]})
    assert (task.attempt, task.max_attempts, task.timeout_ms, task.priority) == (0, 3, 1500, 3)
    assert task.waiting_for == "supervisor"


def test_the_key_is_the_one_given_else_the_model_else_the_agent(yard):
    keys = [
        yard.get(yard.launch(**said)).concurrency_key
        for said in ({"model": "m", "concurrency_key": "k"}, {"model": "m"}, {})
    ]
    assert keys == ["k", "m", "command"]


def test_many_launches_are_accepted_all_or_none(yard):
    good = LaunchInput(command=("true",))
    with pytest.raises(UnknownAgent, match=r"tasks\[1\]"):
        yard.queue.launch_many([good, LaunchInput(prompt="p", agent="nobody")])
    assert yard.queue.unfinished() == []
    ids = [launched.id for launched in yard.queue.launch_many([good] * 3)]
    assert yard.queue.unfinished() == ids


def test_the_same_id_and_input_is_the_same_task(yard):
    again = LaunchInput(id=OWN, command=("true",), cwd="/")
    assert [yard.queue.launch(again).existing for _ in range(2)] == [False, True]
    with pytest.raises(InvalidInput, match="another input") as refusal:
        yard.queue.launch(LaunchInput(id=OWN, command=("false",), cwd="/"))
    assert refusal.value.field == "id"


def test_a_unique_name_is_held_by_an_unfinished_task(yard):
    first = yard.launch(unique_key="nightly")
    assert yard.launch(unique_key="nightly", command=("false",)) == first
    claimed = yard.start(first)
    assert yard.launch(unique_key="nightly") == first
    yard.settle(claimed)
    assert yard.launch(unique_key="nightly") != first


def test_a_failed_task_is_not_queued_again_while_another_holds_its_name(yard):
    failed = yard.run(TaskStatus.ERROR, unique_key="nightly")
    yard.launch(unique_key="nightly")
    with pytest.raises(MoveNotAllowed, match="nightly"):
        yard.queue.retry(failed)
    assert yard.get(failed).status is TaskStatus.ERROR


def test_a_parent_over_its_cap_is_refused_and_others_are_not(home):
    with Yard(home, max_tasks_per_parent=2) as yard:
        first = yard.launch(parent_session_id="ses-1")
        yard.launch(parent_session_id="ses-1")
        with pytest.raises(OverCap) as refusal:
            yard.launch(parent_session_id="ses-1")
        assert refusal.value.field == "parentSessionId"
        yard.launch(parent_session_id="ses-2")
        yard.launch()
        yard.queue.cancel(first)
        yard.launch(parent_session_id="ses-1")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"command": ("a",), "call": "m:f"}, "command"),
        ({"command": ("a",), "stdin": "x", "stdin_file": "y"}, "stdin"),
        ({"command": ("a",), "args": (1,)}, "call"),
        ({"agent": "command", "prompt": "p"}, "command"),
        ({"agent": "python", "prompt": "p"}, "call"),
        ({"agent": "external", "command": ("a",), "prompt": "p"}, "agent"),
        ({"prompt": "p"}, "agent"),
        ({"prompt": "p", "agent": "nobody"}, "agent"),
        ({"command": ("a",), "stdin_file": "is-not-there"}, "stdinFile"),
        ({"agent": "external", "prompt": "p" * 1024 * 1024}, "prompt"),
    ],
)
def test_a_launch_that_cannot_be_meant_is_refused_by_its_field(yard, said, field):
    with pytest.raises(InvalidInput) as refusal:
        yard.queue.launch(LaunchInput(**said))
    assert refusal.value.field == field
    assert yard.queue.unfinished() == []


def test_tasks_of_one_launch_go_to_their_own_keys_and_sessions(home):
    with Yard(home, model_concurrency={"a*": 1}) as yard:
        adopt(yard.database, "old", "new")
        pairs = [("a1", "old"), ("b", "old"), ("a1", None), ("a1", "ses-1"), ("b", "old")]
        for _ in range(2):  # the keys are unknown at first
            given = [LaunchInput(command=("x",), concurrency_key=key, parent_session_id=of) for key, of in pairs]
            tasks = [yard.get(launched.id) for launched in yard.queue.launch_many(given)]
            found = [(task.concurrency_key, task.parent_session_id) for task in tasks]
            assert found == [("a1", "new"), ("b", "new"), ("a1", None), ("a1", "ses-1"), ("b", "new")]
        assert {(group.name, group.pending) for group in yard.groups.all()} == {("a*", 6), ("b", 4)}


def test_key_is_usable_again_after_its_idle_group_was_deleted(yard):
    yard.run(concurrency_key="k")
    with yard.database.write() as transaction:
        transaction.run("delete_idle_groups", {"limit": 9})
    yard.start(yard.launch(concurrency_key="k"), "k")


def test_answer_to_a_launch_is_the_task_as_it_is_stored(yard):
    first = yard.launch()
    given = [
        LaunchInput(command=("a", "b"), env={"A": "1"}, metadata={"a": 1}, priority=3, parent_session_id="ses-1"),
        LaunchInput(call="m:f", args=(1, "a"), kwargs={"b": None}, timeout_ms=5, retries=2, unique_key="u"),
        LaunchInput(agent="external", prompt="p", delay_ms=9000, after=(first,), description="d"),
    ]
    answer = yard.queue.launched_tasks(yard.queue.accept(given))
    assert answer == [yard.get(task.id) for task in answer]
    assert all(vars(task).keys() == {field.name for field in fields(Task)} for task in answer)


def test_supervisor_that_starts_is_seen_at_once_and_its_end_soon(yard):
    id = yard.launch()
    lock = Lock(yard.home.lock("supervisor"))
    assert yard.get(id).waiting_for == "supervisor"
    assert lock.acquire()
    assert yard.get(id).waiting_for is None
    lock.release()
    assert eventually(lambda: yard.get(id).waiting_for == "supervisor", SUPERVISED_FOR + 5)


# notifying the supervisor


@pytest.fixture
def hints(home) -> Iterator[Callable[[], bytes]]:
    """Return what the supervisor was sent since the last call."""
    pipe = os.open(Home(home).prepare().folder / "supervisor.wake", os.O_RDWR | os.O_NONBLOCK)

    def read() -> bytes:
        os.write(pipe, b"|")
        return os.read(pipe, 65536).removesuffix(b"|")

    yield read
    os.close(pipe)


def test_supervisor_is_notified_of_a_task_that_may_start(yard, hints):
    yard.launch(concurrency_key="a")
    assert hints() == b'["a"]\n'
    yard.queue.launch_many([LaunchInput(command=("x",), concurrency_key=key) for key in "bab"])
    assert hints() == b'["a", "b"]\n'


@pytest.fixture
def full(home) -> Iterator[Yard]:
    """A queue whose group `command` has one slot, in use."""
    with Yard(home, default_concurrency=1) as yard:
        yard.start(yard.launch())
        yield yard


def test_supervisor_is_not_notified_of_a_task_in_a_full_group(full, hints):
    full.launch()
    assert hints() == b""
    full.queue.launch_many([LaunchInput(command=("x",), model=model) for model in (None, "opus")])
    assert hints() == b'["opus"]\n'


def test_supervisor_is_not_notified_of_a_task_of_a_paused_key(yard, hints):
    yard.groups.pause("command")
    assert hints() == b"limits\n"
    yard.launch()
    assert hints() == b""
    yard.groups.resume("command")
    assert hints() == b"limits\n"


def test_supervisor_is_notified_of_a_due_time_though_the_group_is_full(full, hints):
    full.launch(delay_ms=1000)
    assert hints() == b'["command"]\n'


def test_supervisor_is_notified_of_an_expiry_though_the_group_is_full(home, hints):
    with Yard(home, default_concurrency=1, max_queue_wait_s=9) as yard:
        yard.start(yard.launch())
        hints()
        yard.launch()
        assert hints() == b'["command"]\n'


# claiming


def test_the_highest_priority_goes_first_then_the_oldest(yard):
    low, old, new, high = (yard.launch(priority=priority) for priority in (-1, 0, 0, 7))
    assert [yard.claim(slot=slot).id for slot in range(3)] == [high, old, new]
    assert yard.get(low).status is TaskStatus.PENDING


def test_no_more_run_than_the_limit_says(home):
    with Yard(home, model_concurrency={"opus": 2}) as yard:
        ids = [yard.launch(model="opus") for _ in range(3)]
        first = yard.start(ids[0], "opus", 0)
        assert yard.claim("opus", 0) is None
        assert yard.claim("opus", 2) is None
        yard.start(ids[1], "opus", 1)
        assert yard.claim("opus", 1) is None
        yard.settle(first)
        yard.start(ids[2], "opus", 0)


def test_a_limit_of_zero_is_no_limit(home):
    with Yard(home, default_concurrency=0) as yard:
        ids = [yard.launch() for _ in range(9)]
        assert [yard.claim(slot=slot).id for slot in range(9)] == ids


def test_a_claim_number_is_never_given_twice(yard):
    numbers = [yard.start(yard.launch()) for _ in range(1)]
    yard.settle(numbers[0])
    for _ in range(3):
        numbers.append(yard.start(yard.launch()))
        yard.settle(numbers[-1])
    claims = [claimed.claim for claimed in numbers]
    assert claims == sorted(set(claims))


def test_work_done_outside_is_for_the_supervisor_alone(yard):
    yard.launch(agent="external", prompt="by hand")
    assert yard.claim("external") is None
    assert yard.claim("external", owner=None).agent == "external"
    yard.launch()
    assert yard.claim("command", owner=None) is None


def test_publishing_an_end_takes_the_next_task_in_the_same_transaction(yard):
    first, second = yard.launch(), yard.launch()
    slot = Slot("command", 0)
    (taken,) = yard.queue.take(slot, yard.owner, 1)
    assert taken.task.id == first
    ended = Ended(taken, taken.started_at, _done(taken))
    (following,) = yard.queue.advance(Step(slot, yard.owner, [ended], count=1)).taken
    assert (yard.get(first).status, yard.get(second).status) == ("completed", "running")
    assert (following.task.id, following.slot) == (second, slot)


def _done(claimed, status=TaskStatus.COMPLETED, **more):
    from backburner.ipc.model.claim import Settlement

    return Settlement(number=claimed.number, claim=claimed.claim, status=status, **more)


# settling


def test_a_stale_claim_settles_nothing(yard):
    id = yard.launch(retries=1)
    stale = yard.start(id)
    yard.settle(stale, TaskStatus.PENDING, error="once", error_kind="exit")
    assert yard.settle(stale) is None
    current = yard.start(id)
    assert yard.settle(stale) is None
    assert yard.queue.record_verdict(stale.number, stale.claim, Verdict(TaskStatus.ERROR, "late", "failed")) is False
    assert yard.get(id).status is TaskStatus.RUNNING
    assert yard.settle(current) == "completed"
    assert yard.settle(current) is None


def test_an_end_is_told_once_with_what_came_of_it(yard):
    id = yard.launch(parent_session_id="ses-1")
    yard.settle(yard.start(id), result="42", exit_code=0, session="agent-1")
    task = yard.get(id)
    assert (task.result, task.exit_code, task.session_id, task.slot, task.pid) == ("42", 0, "agent-1", None, None)
    event = json.loads(yard.log.read("ses-1", 0, 9)[-1].text)
    assert event["type"] == "background_task_completed"
    assert (event["taskId"], event["status"], event["result"], event["error"]) == (id, "completed", "42", None)


def test_long_results_are_cut_in_the_record_and_shorter_in_events(yard):
    id = yard.launch(parent_session_id="ses-1")
    yard.settle(yard.start(id), result="ü" * RESULT_LIMIT)
    task = yard.get(id)
    assert len(task.result.encode()) == RESULT_LIMIT
    assert task.result_truncated
    assert len(json.loads(yard.log.read("ses-1", 0, 9)[-1].text)["result"].encode()) == BRIEF_LIMIT
    assert len(task.brief()["result"].encode()) == BRIEF_LIMIT


def test_an_automatic_retry_waits_and_counts_on(yard, later):
    id = yard.launch(retries=1)
    yard.settle(yard.start(id), TaskStatus.PENDING, error="no", error_kind="exit", not_before=clock.now() + 5000)
    task = yard.get(id)
    assert (task.status, task.attempt, task.waiting_for, task.error_kind) == (TaskStatus.PENDING, 1, "delay", "exit")
    assert yard.claim() is None
    later(5001)
    yard.queue.promote()
    assert yard.start(id).attempt == 2
    assert "background_task_retrying" in yard.told()


def test_an_unused_attempt_does_not_count(yard):
    id = yard.launch()
    yard.settle(yard.start(id), TaskStatus.PENDING, error="died", error_kind="interrupted", unused=True)
    claimed = yard.start(id)
    assert (claimed.attempt, claimed.interruptions) == (1, 1)


# verdicts from outside


def test_the_first_verdict_wins(yard):
    id = yard.launch()
    claimed = yard.start(id)
    yard.queue.complete(id, "mine")
    for verdict in (
        lambda: yard.queue.complete(id, "other"),
        lambda: yard.queue.fail(id, "no"),
        lambda: yard.queue.cancel(id),
    ):
        with pytest.raises(MoveNotAllowed, match="already being ended"):
            verdict()
    assert yard.get(id).stopping
    assert yard.settle(claimed, TaskStatus.ERROR, exit_code=9) == "completed"
    task = yard.get(id)
    assert (task.status, task.result, task.error, task.error_kind, task.exit_code) == (
        "completed",
        "mine",
        None,
        None,
        9,
    )


def test_a_pending_task_is_cancelled_at_once_and_never_starts(yard):
    id = yard.launch(parent_session_id="ses-1")
    assert yard.queue.cancel(id).status is TaskStatus.CANCELLED
    assert yard.claim() is None
    assert yard.told("ses-1") == ["background_task_completed"]


def test_a_running_task_is_cancelled_when_its_tree_is_gone_not_before(yard):
    id = yard.launch()
    claimed = yard.start(id)
    assert yard.queue.cancel(id).status is TaskStatus.RUNNING
    yard.queue.cancel(id)
    assert yard.settle(claimed, TaskStatus.ERROR, signal=15) == "cancelled"


def test_many_are_cancelled_in_few_transactions_each_as_if_by_itself(yard, monkeypatch):
    ended, external = yard.run(), yard.launch(agent="external", prompt="x")
    outside = yard.claim("external", owner=None)
    running, decided = yard.launch(concurrency_key="a"), yard.launch(concurrency_key="b")
    first, second = yard.claim("a"), yard.claim("b")
    yard.queue.record_verdict(second.number, second.claim, Verdict(TaskStatus.ERROR, "no", "failed"))
    pending = [yard.launch() for _ in range(250)]
    commits = []
    write = yard.database.write
    monkeypatch.setattr(yard.database, "write", lambda durable=True: commits.append(1) or write(durable))
    cancelled = yard.queue.cancel_all([ended, external, running, decided, "bg-unknown", *pending])
    assert cancelled == [external, running, *pending]
    assert len(commits) == 3
    assert outside is not None
    assert {str(yard.get(id).status) for id in (external, *pending)} == {"cancelled"}
    assert (yard.get(running).status, yard.get(running).stopping) == ("running", True)
    assert yard.settle(first) == "cancelled"
    assert yard.settle(second) == "error"
    assert yard.get(ended).status == "completed"
    assert yard.queue.cancel_all([running, *pending]) == []


@pytest.mark.parametrize("status", [status for status in TaskStatus if status.ended])
def test_an_ended_task_keeps_its_status(yard, status):
    id = yard.run(status)
    for verdict in (yard.queue.cancel, yard.queue.complete, lambda id: yard.queue.fail(id, "no")):
        with pytest.raises(MoveNotAllowed):
            verdict(id)
    assert yard.get(id).status is status
    assert yard.told().count("background_task_completed") == 1


def test_a_pending_task_is_neither_completed_nor_failed(yard):
    id = yard.launch()
    with pytest.raises(MoveNotAllowed):
        yard.queue.complete(id)
    with pytest.raises(MoveNotAllowed):
        yard.queue.progress(id, "half")
    assert yard.get(id).status is TaskStatus.PENDING


def test_work_done_outside_is_settled_with_its_verdict(yard):
    id = yard.launch(agent="external", prompt="by hand")
    yard.claim("external", owner=None)
    assert yard.queue.progress(id, "half").progress == "half"
    task = yard.queue.complete(id, "done")
    assert (task.status, task.result, task.slot) == (TaskStatus.COMPLETED, "done", None)


def test_unknown_tasks_are_not_found(yard):
    for ask in (yard.queue.get, yard.queue.cancel, yard.queue.complete, yard.queue.retry):
        with pytest.raises(NotFound):
            ask(UNKNOWN)


# retrying by hand


@pytest.mark.parametrize("status", [TaskStatus.ERROR, TaskStatus.CANCELLED])
def test_a_retry_by_hand_counts_on_and_grows_the_attempts(yard, status):
    id = yard.run(status, retries=2)
    task = yard.queue.retry(id)
    assert (task.status, task.attempt, task.max_attempts) == (TaskStatus.PENDING, 1, 6)
    assert (task.error, task.error_kind, task.completed_at) == (None, None, None)
    assert yard.start(id).attempt == 2


def test_what_succeeded_is_not_retried(yard):
    with pytest.raises(MoveNotAllowed, match="completed"):
        yard.queue.retry(yard.run())


def test_a_batch_tells_of_a_task_as_it_ended_though_it_was_retried_since(yard):
    id = yard.run(TaskStatus.ERROR, parent_session_id="ses-1")
    yard.queue.retry(id)
    yard.settle(yard.start(id), result="better")
    for _ in range(2):
        yard.log.form_batch("ses-1", 1)
    batches = [json.loads(line.text) for line in yard.log.read("ses-1", 0, 99) if line.type == "background_tasks_batch"]
    assert [batch["tasks"][0]["status"] for batch in batches] == ["error", "completed"]
    assert [batch["failedCount"] for batch in batches] == [1, 0]
    assert [batch["allComplete"] for batch in batches] == [False, True]


def test_a_retry_joins_the_group_its_key_is_in_now(home):
    with Yard(home) as yard:
        id = yard.run(TaskStatus.ERROR, concurrency_key="anthropic/opus")
    with Yard(home, model_concurrency={"anthropic/*": 1}) as yard:
        yard.groups.configure()
        yard.queue.retry(id)
        yard.launch(concurrency_key="anthropic/haiku")
        assert yard.claim("anthropic/opus") is None
        yard.start(id, "anthropic/*")
        assert yard.claim("anthropic/*", 1) is None


# time


def test_a_delayed_task_waits_for_its_time(yard, later):
    id = yard.launch(delay_ms=60_000)
    assert yard.get(id).waiting_for == "delay"
    assert yard.claim() is None
    due = yard.queue.store.queue.next_due()
    assert abs(due - clock.now() - 60_000) < 5_000
    yard.queue.promote()
    assert yard.claim() is None
    later(60_001)
    assert yard.queue.promote() == {"command"}
    yard.start(id)


def test_a_task_that_waited_too_long_expires(home, later):
    with Yard(home, max_queue_wait_s=10) as yard:
        id = yard.launch(parent_session_id="ses-1")
        delayed = yard.launch(delay_ms=20_000)
        later(10_001)
        yard.queue.promote()
        task = yard.get(id)
        assert (task.status, task.error_kind) == (TaskStatus.ERROR, "expired")
        assert yard.get(delayed).status is TaskStatus.PENDING
        later(10_000)
        yard.queue.promote()
        assert yard.get(delayed).waiting_for == "supervisor"
        later(10_001)
        yard.queue.promote()
        assert yard.get(delayed).error_kind == "expired"


def test_work_done_outside_times_out(yard, later):
    once = yard.launch(agent="external", prompt="by hand", timeout_ms=1000)
    yard.claim("external", owner=None)
    later(1001)
    yard.queue.promote()
    assert yard.get(once).error_kind == "timeout"
    assert yard.queue.store.queue.next_due() is None


# dependencies


def test_a_dependent_waits_for_all_to_end_well(yard):
    first, second = yard.launch(), yard.launch()
    after = yard.launch(after=(first, second))
    assert yard.get(after).waiting_for == "dependency"
    assert yard.get(after).after == (first, second)
    yard.settle(yard.start(first))
    yard.queue.promote()
    second = yard.start(second)
    assert yard.claim(slot=1) is None
    yard.settle(second)
    assert yard.queue.store.queue.next_due() == 0
    assert yard.queue.promote() == {"command"}
    yard.start(after)


@pytest.mark.parametrize("status", [TaskStatus.ERROR, TaskStatus.CANCELLED])
def test_a_dependent_of_a_bad_end_fails_and_so_do_its_own(yard, status):
    first = yard.launch()
    second = yard.launch(after=(first,), parent_session_id="ses-1")
    third = yard.launch(after=(second,))
    anyway = yard.launch(after_any=(first,))
    yard.settle(yard.start(first), status)
    while yard.queue.store.queue.next_due() == 0:
        yard.queue.promote()
    assert [yard.get(id).error_kind for id in (second, third)] == ["dependency", "dependency"]
    yard.start(anyway)
    assert yard.told("ses-1") == ["background_task_completed"]


def test_a_launch_after_a_bad_end_is_accepted_and_fails_at_once(yard):
    failed, done = yard.run(TaskStatus.ERROR), yard.run()
    doomed = yard.launch(after=(failed,), parent_session_id="ses-1")
    assert (yard.get(doomed).status, yard.get(doomed).error_kind) == (TaskStatus.ERROR, "dependency")
    yard.start(yard.launch(after=(done,)))
    yard.start(yard.launch(after_any=(failed,)), slot=1)


def test_a_launch_after_an_unknown_task_is_refused(yard):
    with pytest.raises(NotFound) as refusal:
        yard.launch(after=(UNKNOWN,))
    assert refusal.value.field == "after"


def test_a_delay_and_a_dependency_must_both_be_over(yard, later):
    first = yard.launch()
    both = yard.launch(after=(first,), delay_ms=1000)
    later(1001)
    yard.queue.promote()
    first = yard.start(first)
    assert yard.claim(slot=1) is None
    yard.settle(first)
    yard.queue.promote()
    yard.start(both)


def test_a_dependency_over_first_leaves_the_delay(yard, later):
    both = yard.launch(after=(first := yard.launch(),), delay_ms=1000)
    yard.settle(yard.start(first))
    yard.queue.promote()
    assert yard.claim() is None
    later(1001)
    yard.queue.promote()
    yard.start(both)


def test_a_retry_by_hand_still_waits_for_what_it_comes_after(yard):
    first = yard.launch()
    after = yard.launch(after=(first,))
    yard.queue.cancel(after)
    yard.queue.retry(after)
    claimed = yard.start(first)
    assert yard.claim(slot=1) is None
    yard.settle(claimed)
    yard.queue.promote()
    yard.start(after)


# looking


def test_lists_are_newest_first_filtered_and_in_pages(yard):
    ids = [yard.launch(parent_session_id=f"ses-{number % 2}", model=f"m-{number % 3}") for number in range(7)]
    yard.queue.cancel(ids[6])

    def listed(**which):
        return [task.id for task in yard.queue.list(Filter(**which)).tasks]

    assert listed() == ids[::-1]
    assert listed(parent="ses-1") == [ids[5], ids[3], ids[1]]
    assert listed(model="m-0") == [ids[6], ids[3], ids[0]]
    assert listed(status=TaskStatus.CANCELLED) == [ids[6]]
    assert listed(status=TaskStatus.PENDING, parent="ses-0") == [ids[4], ids[2], ids[0]]
    page = yard.queue.list(Filter(limit=4))
    rest = yard.queue.list(Filter(limit=4, cursor=page.next))
    assert [task.id for task in page.tasks + rest.tasks] == ids[::-1]
    assert rest.next is None


def test_tasks_are_found_by_any_unique_prefix(yard):
    ids = [yard.launch() for _ in range(2)]
    assert yard.queue.find(ids[0]) == ids[0]
    assert yard.queue.find(ids[0].removeprefix("bg-")[:20]) == ids[0]
    assert yard.queue.find("-") == ids[1]
    with pytest.raises(NotFound):
        yard.queue.find("zzz")
    with pytest.raises(Ambiguous):
        yard.queue.find("bg-")


def test_output_comes_in_pieces_from_the_database_or_from_the_file(yard):
    id = yard.launch()
    assert yard.queue.output(id, "stdout", 0, 9).eof is False
    claimed = yard.start(id)
    yard.home.output(claimed.claim, "stdout").write_bytes(b"0123456789")
    piece = yard.queue.output(id, "stdout", 4, 4)
    assert (piece.data, piece.offset, piece.eof) == (b"4567", 8, False)
    yard.settle(claimed, outputs=(("stdout", b"0123456789"),))
    yard.home.output(claimed.claim, "stdout").unlink()
    piece = yard.queue.output(id, "stdout", 4, 9)
    assert (piece.data, piece.offset, piece.eof) == (b"456789", 10, True)
    assert yard.queue.output(id, "stderr", 0, 9).eof


def test_a_task_says_what_it_waits_for(home):
    with Yard(home, default_concurrency=1) as yard:
        first, second = yard.launch(), yard.launch()
        yard.start(first)
        yard.groups.pause("other")
        paused = yard.launch(concurrency_key="other")
        assert yard.get(paused).waiting_for == "paused"
        assert yard.get(second).waiting_for == "supervisor"
        assert yard.get(first).waiting_for is None
