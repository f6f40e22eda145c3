"""Prune, clear, export and import."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.errors import InvalidInput, NotFound, Temporary
from backburner.ipc.model.task import Task, TaskStatus
from backburner.ipc.store.retention import DAY, ORPHAN_AGE, STEP
from backburner.ipc.store.sqlite.file.transaction import Transaction
from tests.helpers.commands import backburner
from tests.helpers.queue_db import QueueDatabase

OTHER = "bg-99999999-2222-4333-8444-555555555555"


@pytest.fixture
def queue_db(home) -> Iterator[QueueDatabase]:
    with QueueDatabase(home) as found:
        yield found


@pytest.fixture
def maintenance(queue_db) -> Maintenance:
    return Maintenance(queue_db.store, queue_db.config)


@pytest.fixture
def days(monkeypatch):
    """Return a function that lets days pass."""
    passed = 0.0
    now = clock.now

    def pass_(count: float) -> None:
        nonlocal passed
        passed += count

    monkeypatch.setattr(clock, "now", lambda: now() + round(passed * DAY))
    return pass_


def acknowledge_all(queue_db: QueueDatabase, parent: str = "ses-1") -> None:
    """Form all batches of a session and acknowledge all its events."""
    while queue_db.log.form_batch(parent, 5):
        continue
    queue_db.log.acknowledge(parent, "default", queue_db.log.last_seq())


def known(queue_db: QueueDatabase, *ids: str) -> list[bool]:
    return [_is_known(queue_db, id) for id in ids]


def _is_known(queue_db: QueueDatabase, id: str) -> bool:
    try:
        queue_db.get(id)
    except NotFound:
        return False
    return True


def test_acknowledged_events_and_their_tasks_are_deleted_after_the_retention(queue_db, maintenance, days):
    id = queue_db.run(parent_session_id="ses-1")
    acknowledge_all(queue_db)
    days(29)
    assert maintenance.prune().tasks == 0
    days(2)
    done = maintenance.prune()
    assert (done.tasks, done.events) == (1, 3)
    assert known(queue_db, id) == [False]
    assert queue_db.event_types() == []


def test_unacknowledged_events_are_kept_ten_times_as_long(queue_db, maintenance, days):
    id = queue_db.run(parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    days(299)
    assert maintenance.prune().events == 0
    assert known(queue_db, id) == [True]
    days(2)
    maintenance.prune()
    assert known(queue_db, id) == [False]
    assert queue_db.log.truncated("ses-1", 0) is not None


def test_task_is_deleted_with_its_last_event(queue_db, maintenance, days):
    id = queue_db.run(parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    queue_db.log.acknowledge("ses-1", "default", 2)
    days(31)
    assert maintenance.prune().events == 2
    assert known(queue_db, id) == [True]
    queue_db.log.acknowledge("ses-1", "default", 3)
    assert maintenance.prune().tasks == 1


def test_retried_task_is_deleted_with_the_batch_of_its_last_end(queue_db, maintenance, days):
    id = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    queue_db.log.form_batch("ses-1", 5)
    first = queue_db.log.last_seq()
    days(0.1)
    queue_db.queue.retry(id)
    queue_db.settle(queue_db.start(id))
    queue_db.log.form_batch("ses-1", 5)
    queue_db.log.acknowledge("ses-1", "default", first)
    days(31)
    assert maintenance.prune().events == first
    assert known(queue_db, id) == [True]
    queue_db.log.acknowledge("ses-1", "default", queue_db.log.last_seq())
    assert maintenance.prune().tasks == 1


def test_task_retried_while_its_batch_is_deleted_is_kept(queue_db, maintenance, days):
    id = queue_db.run(TaskStatus.ERROR, parent_session_id="ses-1")
    acknowledge_all(queue_db)
    days(31)
    write, calls = queue_db.store.write, []

    def racing(durable: bool = True):
        calls.append(durable)
        if len(calls) == 1:
            queue_db.queue.retry(id)
        return write(durable)

    queue_db.store.write = racing
    assert maintenance.prune().tasks == 0
    assert queue_db.get(id).status is TaskStatus.PENDING


def test_batch_and_its_tasks_are_deleted_in_one_transaction(queue_db, maintenance, days, monkeypatch):
    id = queue_db.run(parent_session_id="ses-1")
    acknowledge_all(queue_db)
    days(31)
    run = Transaction.run

    def refused(transaction: Transaction, name: str, values=None) -> int:
        if name == "record_truncation":
            raise Temporary("The disk is full.")
        return run(transaction, name, values)

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "run", refused)
        with pytest.raises(Temporary):
            maintenance.prune()
    assert known(queue_db, id) == [True]
    assert len(queue_db.event_types("ses-1")) == 3
    assert maintenance.prune().tasks == 1


def test_imported_task_is_deleted_when_its_session_has_no_more_events(queue_db, maintenance, days, elsewhere):
    imported = [queue_db.run(parent_session_id=parent) for parent in ("ses-1", "ses-2")]
    Maintenance(elsewhere.store, elsewhere.config).load(document(maintenance))
    there = Maintenance(elsewhere.store, elsewhere.config)
    days(31)
    elsewhere.run(parent_session_id="ses-2")
    acknowledge_all(elsewhere, "ses-2")
    assert there.prune().tasks == 1
    assert known(elsewhere, *imported) == [False, True]
    days(270)
    elsewhere.run(parent_session_id="ses-2")
    there.prune()
    assert known(elsewhere, *imported) == [False, False]


def test_task_is_kept_while_its_end_is_unbatched(queue_db, maintenance, days):
    id = queue_db.run(parent_session_id="ses-1")
    queue_db.log.acknowledge("ses-1", "default", 2)
    days(301)
    maintenance.prune()
    assert known(queue_db, id) == [True]
    queue_db.log.form_batch("ses-1", 5)
    assert queue_db.log.read("ses-1", 0, 9)[-1].type == "background_tasks_batch"


def test_events_are_kept_for_a_consumer_that_lags(queue_db, maintenance, days):
    queue_db.run(parent_session_id="ses-1")
    acknowledge_all(queue_db)
    queue_db.log.acknowledge("ses-1", "model", 1)
    days(31)
    assert maintenance.prune().events == 1
    assert [line.seq for line in queue_db.log.read("ses-1", 0, 9)] == [2, 3]


def test_tasks_without_a_session_are_deleted_with_their_events(queue_db, maintenance, days):
    ids = [queue_db.run(), queue_db.run(TaskStatus.ERROR)]
    days(31)
    done = maintenance.prune()
    assert (done.tasks, done.events) == (2, 4)
    assert known(queue_db, *ids) == [False, False]


def test_prune_keeps_old_tasks_that_are_unfinished(queue_db, maintenance, days):
    pending, running = queue_db.launch(priority=-1), queue_db.launch()
    queue_db.start(running)
    days(3000)
    maintenance.prune()
    assert known(queue_db, pending, running) == [True, True]


def test_task_retried_during_a_prune_is_kept(queue_db, maintenance, days):
    id = queue_db.run(TaskStatus.ERROR)
    days(31)
    write, calls = queue_db.store.write, []

    def racing(durable: bool = True):
        calls.append(durable)
        if len(calls) == 2:  # the events are gone, the task is next
            queue_db.queue.retry(id)
        return write(durable)

    queue_db.store.write = racing
    assert maintenance.prune().tasks == 0
    assert queue_db.get(id).status is TaskStatus.PENDING


def test_prune_does_not_reuse_numbers(queue_db, maintenance, days):
    queue_db.run()
    seq, number = queue_db.log.last_seq(), queue_db.queue._state(queue_db.run()).number
    days(31)
    maintenance.prune()
    id = queue_db.run()
    assert queue_db.log.read(None, 0, 1)[0].seq > seq
    assert queue_db.queue._state(id).number > number


def test_many_tasks_are_deleted_in_small_transactions(queue_db, maintenance, days):
    for _ in range(450):
        queue_db.queue.cancel(queue_db.launch())
    days(31)
    sizes = []
    write = queue_db.store.write

    def counted(durable: bool = True):
        sizes.append(durable)
        return write(durable)

    queue_db.store.write = counted
    assert maintenance.prune().tasks == 450
    assert len(sizes) >= 6


def test_tasks_of_many_batches_are_deleted_in_small_transactions(queue_db, maintenance, days):
    for _ in range(450):
        queue_db.queue.cancel(queue_db.launch(parent_session_id="ses-1"))
    acknowledge_all(queue_db)
    days(31)
    raw, sizes = queue_db.store._connection, []
    write = queue_db.store.write

    @contextmanager
    def measured(durable: bool = True):
        before = raw.total_changes
        with write(durable) as transaction:
            yield transaction
        sizes.append(raw.total_changes - before)

    queue_db.store.write = measured
    done = maintenance.prune()
    assert (done.tasks, done.events) == (450, 540)
    assert max(sizes) <= 2 * STEP


def test_files_of_a_task_are_deleted_with_it(queue_db, maintenance, days, tmp_path):
    (tmp_path / "in.txt").write_text("x")
    id = queue_db.launch(stdin_file=str(tmp_path / "in.txt"))
    claimed = queue_db.start(id)
    output = queue_db.home.output(claimed.claim, "stdout")
    output.write_bytes(b"large")
    queue_db.settle(claimed)
    copied = next((queue_db.home.folder / "input").iterdir())
    days(31)
    assert maintenance.prune().files == 2
    assert not output.exists()
    assert not copied.exists()


def test_orphaned_files_are_deleted_once_they_are_old(queue_db, maintenance):
    running = queue_db.start(queue_db.launch())
    kept = [
        queue_db.home.output(running.claim, "stdout"),
        queue_db.home.folder / "output" / "README",
        queue_db.home.output(98, "stdout"),
    ]
    gone = [queue_db.home.output(99, "stdout"), queue_db.home.input("0" * 32), queue_db.home.input("97.prompt")]
    for path in (*kept, *gone):
        path.write_text("x")
    old = clock.now() / 1000 - ORPHAN_AGE / 1000 - 1
    for path in (*kept[:2], *gone):
        os.utime(path, (old, old))
    assert maintenance.prune().files == 3
    assert [path.exists() for path in kept] == [True, True, True]
    assert [path.exists() for path in gone] == [False, False, False]


def test_unused_keys_and_limit_groups_are_deleted(queue_db, maintenance):
    queue_db.run(concurrency_key="once")
    waiting = queue_db.launch(concurrency_key="waiting")
    queue_db.start(queue_db.launch(concurrency_key="running"), "running")
    queue_db.groups.limit("limited", 2)
    queue_db.groups.pause("paused")
    failed = queue_db.run(TaskStatus.ERROR, concurrency_key="failed")
    maintenance.prune()
    assert {group.name for group in queue_db.groups.all()} == {"waiting", "running", "limited", "paused"}
    assert len(queue_db.queue.list(_everything()).tasks) == 4
    queue_db.queue.retry(failed)
    queue_db.start(failed, "failed")
    queue_db.start(waiting, "waiting")


def _everything():
    from backburner.ipc.model.query import Filter

    return Filter()


def test_cursors_of_a_session_are_deleted_with_its_last_event(queue_db, maintenance, days):
    queue_db.run(parent_session_id="ses-1")
    acknowledge_all(queue_db)
    days(31)
    maintenance.prune()
    assert queue_db.log.cursor("ses-1", "default") == 0
    assert queue_db.log.truncated("ses-1", 0) is None


def test_clear_cancels_and_sends_batches_before_it_deletes(queue_db, maintenance):
    running = queue_db.launch(agent="external", prompt="by hand", parent_session_id="ses-1")
    queue_db.claim("external", owner=None)
    waiting = queue_db.launch(parent_session_id="ses-1")
    sent = []
    cleared = maintenance.clear(lambda: sent.extend(queue_db.log.read("ses-1", 0, 99)))
    assert [line.type for line in sent][-1] == "background_tasks_batch"
    assert json.loads(sent[-1].text)["cancelledCount"] == 2
    assert cleared.tasks == 2
    assert known(queue_db, running, waiting) == [False, False]
    assert queue_db.event_types() == []
    assert queue_db.log.cursor("ses-1", "default") == 0


def test_clear_does_not_reuse_numbers(queue_db, maintenance):
    claim = queue_db.start(queue_db.launch())
    queue_db.settle(claim)
    seq = queue_db.log.last_seq()
    maintenance.clear()
    assert queue_db.log.last_seq() >= seq
    again = queue_db.start(queue_db.launch(parent_session_id="ses-1"))
    assert again.claim > claim.claim
    assert again.number > claim.number
    assert queue_db.log.read(None, 0, 9)[0].seq > seq


def test_clear_reports_truncation_to_sessions_with_unread_events(queue_db, maintenance):
    queue_db.run(parent_session_id="ses-1")
    queue_db.run(parent_session_id="ses-2")
    queue_db.log.form_batch("ses-2", 5)
    acknowledge_all(queue_db, "ses-2")
    maintenance.clear()
    assert queue_db.log.truncated("ses-1", 0) is not None
    assert queue_db.log.truncated("ses-2", 0) is None


def test_clear_keeps_limits_and_pauses(queue_db, maintenance):
    queue_db.groups.limit("opus", 7)
    queue_db.groups.pause("opus")
    maintenance.clear()
    assert [(group.limit, group.paused) for group in queue_db.groups.all() if group.name == "opus"] == [(7, True)]


def test_clear_deletes_the_files(queue_db, maintenance, tmp_path):
    (tmp_path / "in.txt").write_text("x")
    claimed = queue_db.start(queue_db.launch(stdin_file=str(tmp_path / "in.txt")))
    queue_db.home.output(claimed.claim, "stdout").write_text("x")
    queue_db.home.input(f"{claimed.claim}.prompt").write_text("x")
    queue_db.settle(claimed)
    maintenance.clear()
    assert [path for name in ("output", "input") for path in (queue_db.home.folder / name).iterdir()] == []


def test_clear_ends_process_trees_but_not_the_supervisor(supervised, no_strays):
    with QueueDatabase(supervised) as queue_db:
        id = queue_db.launch(command=("sleep", "1000"))
        assert backburner(supervised, "wait", id, "--timeout", "0").returncode == 124
        Maintenance(queue_db.store, queue_db.config).clear()
        assert known(queue_db, id) == [False]
    assert json.loads(backburner(supervised, "status", "--json").stdout)["supervisor"] is not None


def document(maintenance: Maintenance, seed: bool = False) -> dict:
    return json.loads("".join(maintenance.export(seed)))


@pytest.fixture
def elsewhere(tmp_path) -> Iterator[QueueDatabase]:
    folder = tmp_path / "other" / ".backburner"
    folder.mkdir(0o700, parents=True)
    with QueueDatabase(folder) as found:
        yield found


def same(one: Task, two: Task) -> bool:
    return replace(one, waiting_for=None) == replace(two, waiting_for=None)


def test_import_restores_every_field_of_an_export(queue_db, maintenance, elsewhere, tmp_path):
    (tmp_path / "in.bin").write_bytes(b"\xff\x00")
    ids = [
        queue_db.run(parent_session_id="ses-1", metadata={"a": [1, None]}),
        queue_db.run(TaskStatus.ERROR, description="ü"),
        queue_db.launch(
            call="m:f", args=(1,), kwargs={"k": 2}, env={"A": "b", "C": None}, leave_children=True, retries=2
        ),
        queue_db.launch(stdin="text", unique_key="u", priority=4, delay_ms=60_000),
        queue_db.launch(stdin_file=str(tmp_path / "in.bin")),
    ]
    exported = document(maintenance)
    assert exported["log"] == queue_db.log.id()
    done = Maintenance(elsewhere.store, elsewhere.config).load(exported)
    assert (done.added, done.skipped) == (5, 0)
    assert all(same(queue_db.get(id), elsewhere.get(id)) for id in ids)
    inputs = [task["env"] for task in document(Maintenance(elsewhere.store, elsewhere.config))["tasks"]]
    assert inputs[2] == {"A": None, "C": None}, "values stay here"
    claimed = elsewhere.claim("python")
    assert (claimed.call, claimed.args, claimed.kwargs, claimed.leave_children) == ("m:f", (1,), {"k": 2}, True)
    copied = elsewhere.claim("command")
    assert copied.id == ids[4]
    assert elsewhere.home.input(copied.stdin_file).read_bytes() == b"\xff\x00"


def test_import_skips_tasks_that_exist(queue_db, maintenance):
    queue_db.run()
    exported = document(maintenance)
    queue_db.launch()
    exported["tasks"].append({**exported["tasks"][0], "id": OTHER})
    done = maintenance.load(exported)
    assert (done.added, done.skipped) == (1, 1)
    assert maintenance.load(exported).skipped == 2


def test_running_task_is_imported_as_lost(queue_db, maintenance, elsewhere):
    id = queue_db.launch(parent_session_id="ses-1")
    queue_db.start(id)
    Maintenance(elsewhere.store, elsewhere.config).load(document(maintenance))
    task = elsewhere.get(id)
    assert (task.status, task.error_kind, task.slot, task.attempt) == (TaskStatus.ERROR, "lost", None, 1)
    assert task.completed_at is not None
    assert elsewhere.event_types() == []


def test_pending_task_is_imported_with_its_dependencies(queue_db, maintenance, elsewhere):
    first = queue_db.launch()
    after, anyway = queue_db.launch(after=(first,)), queue_db.launch(after_any=(first,))
    Maintenance(elsewhere.store, elsewhere.config).load(document(maintenance))
    claimed = elsewhere.start(first)
    assert elsewhere.claim(slot=1) is None
    elsewhere.settle(claimed, TaskStatus.ERROR)
    elsewhere.queue.promote()
    assert elsewhere.get(after).error_kind == "dependency"
    elsewhere.start(anyway)


def test_imported_task_does_not_wait_for_a_pruned_dependency(queue_db, maintenance, elsewhere):
    after = queue_db.launch(after=(queue_db.launch(),))
    exported = document(maintenance)
    exported["tasks"] = [task for task in exported["tasks"] if task["id"] == after]
    Maintenance(elsewhere.store, elsewhere.config).load(exported)
    elsewhere.start(after)


SEED = {
    "tasks": {
        "bg-1c0d2f5e-0000-4000-8000-000000000001": {
            "id": "bg-1c0d2f5e-0000-4000-8000-000000000001",
            "parentSessionId": "ses-1",
            "parentMessageId": "msg-1",
            "description": "Explore",
            "prompt": "Find the parser",
            "agent": "external",
            "status": "running",
            "queuedAt": "2026-01-05T10:00:00.000Z",
            "startedAt": "2026-01-05T10:00:01.000Z",
            "concurrencyKey": "sonnet",
            "progress": {"toolCalls": 3},
            "somethingElse": True,
        },
        "bg-1c0d2f5e-0000-4000-8000-000000000002": {
            "description": "Build",
            "prompt": "Build it",
            "agent": "external",
            "status": "pending",
            "queuedAt": "2026-01-05T10:00:02.000Z",
        },
        "bg-1c0d2f5e-0000-4000-8000-000000000003": {
            "agent": "external",
            "status": "error",
            "queuedAt": "2026-01-05T10:00:02.000Z",
            "completedAt": "2026-01-05T10:00:04.000Z",
            "error": "boom",
        },
    },
    "activeCount": {},
    "lastUpdated": "2026-01-05T10:00:03.000Z",
}


def test_seed_format_is_imported(queue_db, maintenance):
    assert maintenance.load(SEED).added == 3
    lost, pending, failed = (queue_db.get(id) for id in SEED["tasks"])
    assert (lost.status, lost.error_kind, lost.concurrency_key, lost.parent_session_id) == (
        "error",
        "lost",
        "sonnet",
        "ses-1",
    )
    assert (pending.status, pending.concurrency_key, pending.prompt) == ("pending", "external", "Build it")
    assert (failed.error, failed.error_kind, clock.iso(round(failed.completed_at.timestamp() * 1000))) == (
        "boom",
        "failed",
        "2026-01-05T10:00:04.000Z",
    )
    assert queue_db.claim("external", owner=None).id == pending.id


def test_seed_format_is_exported_and_imported_again(queue_db, maintenance, elsewhere):
    running = queue_db.launch(model="opus", prompt="p", agent="external", parent_session_id="ses-1")
    queue_db.claim("opus", owner=None)
    done = queue_db.run()
    exported = document(maintenance, seed=True)
    assert exported.keys() == {"tasks", "activeCount", "lastUpdated"}
    assert exported["activeCount"] == {"opus": 1}
    assert exported["tasks"].keys() == {running, done}
    assert exported["tasks"][running]["prompt"] == "p"
    assert None not in exported["tasks"][done].values()
    assert Maintenance(elsewhere.store, elsewhere.config).load(exported).added == 2
    assert elsewhere.get(running).error_kind == "lost"


def _task(**fields):
    return {"id": OTHER, "agent": "external", "status": "pending", "queuedAt": "2026-01-05T10:00:00.000Z", **fields}


@pytest.mark.parametrize(
    ("tasks", "field"),
    [
        ([_task(status="asleep")], "tasks[0].status"),
        ([_task(), _task(id=OTHER[:-1] + "6", queuedAt="yesterday")], "tasks[1].queuedAt"),
        ([_task(priority="high")], "tasks[0].priority"),
        ([_task(agent="command")], "tasks[0].command"),
        ([_task(stdinData="???")], "tasks[0].stdinData"),
        ([_task(surprise=1)], "tasks[0].surprise"),
        ([{"id": OTHER}], "tasks[0].agent"),
        (["text"], "tasks[0]"),
        ("text", "tasks"),
        ({OTHER: 7}, f"tasks.{OTHER}"),
        ({OTHER: _task(attempt=-1)}, f"tasks.{OTHER}.attempt"),
    ],
)
def test_import_names_the_invalid_field_and_adds_nothing(queue_db, maintenance, tasks, field):
    with pytest.raises(InvalidInput) as refusal:
        maintenance.load({"format": "backburner", "version": 1, "tasks": tasks})
    assert refusal.value.field == field
    assert list(maintenance.tasks()) == []


@pytest.mark.parametrize("nothing", [None, [], "text", {}, {"format": "other", "version": 1, "tasks": []}])
def test_import_refuses_other_documents(maintenance, nothing):
    with pytest.raises(InvalidInput):
        maintenance.load(nothing)


def test_import_refuses_a_unique_key_in_use(queue_db, maintenance):
    queue_db.launch(unique_key="nightly")
    with pytest.raises(InvalidInput, match="nightly") as refusal:
        maintenance.load({"format": "backburner", "version": 1, "tasks": [_task(uniqueKey="nightly")]})
    assert refusal.value.field == "tasks[0].uniqueKey"


def test_export_returns_pieces(queue_db, maintenance):
    for _ in range(250):
        queue_db.launch()
    pieces = list(maintenance.export())
    assert len(pieces) == 252
    assert len(json.loads("".join(pieces))["tasks"]) == 250


def test_export_encodes_binary_stdin(queue_db, maintenance, tmp_path):
    (tmp_path / "in.bin").write_bytes(b"\xff")
    queue_db.launch(stdin_file=str(tmp_path / "in.bin"))
    assert base64.b64decode(document(maintenance)["tasks"][0]["stdinData"]) == b"\xff"
