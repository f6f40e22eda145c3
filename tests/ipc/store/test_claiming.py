"""Series: the tasks that a worker takes at once, holds behind the running one, and publishes."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database as Tables

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.errors import HeldByWorker, MoveNotAllowed
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Ended, Rescued, Settlement, Slot, Step, Taken
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.sessions import adopt
from backburner.ipc.store.sqlite.file.backup import back_up, restore
from backburner.ipc.store.sqlite.file.damaged import DamagedDatabase
from backburner.ipc.store.sqlite.file.migrations import migrations
from backburner.ipc.store.sqlite.file.salvage import salvage
from tests.helpers.queue_db import QueueDatabase

STARTED, COMPLETED, RETRYING = (
    "background_task_started",
    "background_task_completed",
    "background_task_retrying",
)
ROW = """SELECT status, ready, owner, held, requested, due_at, expires_at, claim, started_at, completed_at
  FROM tasks WHERE id = ?"""


class Series:
    """A group with one slot, and a worker that has taken all of its tasks."""

    def __init__(self, queue_db: QueueDatabase, count: int, **launch: object) -> None:
        self.queue_db, self.slot = queue_db, Slot("one", 0)
        self.ids = [queue_db.launch(concurrency_key="one", **launch) for _ in range(count)]
        self.taken = self.take(count)

    def take(self, count: int) -> list[Taken]:
        return self.queue_db.queue.take(self.slot, self.queue_db.owner, count)

    def ended(self, at: int, status: TaskStatus = TaskStatus.COMPLETED, **more: object) -> Ended:
        one = self.taken[at]
        kind = {"error": "failed", "error_kind": "exit"} if status is not TaskStatus.COMPLETED else {}
        return Ended(one, 1000 + at, Settlement(one.number, one.claim, status, **{**kind, **more}))  # type: ignore[arg-type]

    def publish(self, *ended: Ended, current: Taken | None = None, count: int = 0) -> list[Taken]:
        """Publish; what did not end and does not run goes back."""
        left = self.taken[len(ended) :]
        returned = [one for one in left if one is not current and not one.current]
        return self.queue_db.queue.advance(Step(self.slot, self.queue_db.owner, ended, current, returned, count)).taken

    def row(self, at: int) -> sqlite3.Row:
        return self.queue_db.database._connection.execute(ROW, (self.ids[at],)).fetchone()

    def is_requested(self, at: int) -> bool:
        return self.row(at)["requested"] is not None

    def is_held(self, at: int) -> bool:
        row = self.row(at)
        return (row["status"], row["ready"], row["owner"]) == ("pending", 2, self.queue_db.owner) and row["held"] > 0


@pytest.fixture
def queue_db(home: Path) -> Iterator[QueueDatabase]:
    with QueueDatabase(home, model_concurrency={"one": 1, "two": 2}, max_queue_wait_s=50) as found:
        found.groups.configure()
        yield found


@pytest.fixture
def series(queue_db: QueueDatabase) -> Series:
    return Series(queue_db, 3, parent_session_id="ses-1")


@pytest.fixture
def publishing(series: Series, monkeypatch: pytest.MonkeyPatch) -> Series:
    """A series whose worker publishes when it is woken: all but the running task go back."""

    def wake(*_: object) -> bool:
        if series.is_held(1):
            series.publish(current=series.taken[0])
        return True

    monkeypatch.setattr("backburner.ipc.store.publication.wake_process", wake)
    return series


# taking


def test_a_series_starts_its_first_task_and_holds_the_others(series):
    assert [one.task.id for one in series.taken] == series.ids
    assert [one.current for one in series.taken] == [True, False, False]
    assert series.queue_db.get(series.ids[0]).status == "running"
    assert [series.is_held(at) for at in (1, 2)] == [True, True]
    assert series.queue_db.event_types() == [STARTED]


def test_the_claims_of_a_series_follow_each_other_and_are_given_once(series):
    first = [one.claim for one in series.taken]
    assert first == list(range(first[0], first[0] + 3))
    series.queue_db.launch(concurrency_key="two")
    assert series.queue_db.claim("two").claim > first[-1]


def test_held_tasks_are_not_offered_to_other_workers(series):
    assert series.queue_db.queue.store.limits.waiting() == []
    series.queue_db.database._connection.execute("UPDATE groups SET slot_limit = 9 WHERE name = 'one'")
    assert series.queue_db.queue.take(Slot("one", 1), series.queue_db.owner, 4) == []


@pytest.mark.parametrize(("ready", "taken"), [(1, 1), (3, 1), (4, 2), (7, 3), (20, 4)])
def test_a_series_leaves_half_of_a_group_to_its_other_slots(queue_db, ready, taken):
    for _ in range(ready):
        queue_db.launch(concurrency_key="two")
    assert len(queue_db.queue.take(Slot("two", 0), queue_db.owner, 4)) == taken


@pytest.mark.parametrize(
    "alone", [{"stdin": "x"}, {"agent": "external", "prompt": "p"}, {"leave_children": True}, {"timeout_ms": 20}]
)
def test_a_series_ends_before_a_task_that_runs_alone(queue_db, alone):
    for launch in ({}, {}, alone, {}):
        queue_db.launch(concurrency_key="one", **launch)
    assert len(queue_db.queue.take(Slot("one", 0), queue_db.owner, 4)) == 2


def test_a_task_that_runs_alone_is_taken_alone(queue_db):
    queue_db.launch(concurrency_key="one", stdin="x")
    queue_db.launch(concurrency_key="one")
    assert len(queue_db.queue.take(Slot("one", 0), queue_db.owner, 4)) == 1


def test_a_series_is_of_one_agent(queue_db):
    queue_db.launch(concurrency_key="one")
    queue_db.launch(concurrency_key="one", call="m:f")
    assert len(queue_db.queue.take(Slot("one", 0), queue_db.owner, 4)) == 1


# publishing


def test_a_held_task_that_completed_is_started_and_completed_in_order(series):
    queue_db = series.queue_db
    series.publish(*(series.ended(at, result=f"r{at}", exit_code=0, ended_at=2000 + at) for at in range(3)))
    assert queue_db.event_types() == [STARTED, COMPLETED] * 3
    assert queue_db.event_types("ses-1") == queue_db.event_types()
    task = queue_db.get(series.ids[1])
    assert (task.status, task.attempt, task.result, task.exit_code) == ("completed", 1, "r1", 0)
    assert (series.row(1)["started_at"], series.row(1)["completed_at"]) == (1001, 2001)
    assert queue_db.queue.claim_of(task.id) == series.taken[1].claim
    assert queue_db.log.form_batch("ses-1", 9) == 3


def test_a_completion_without_a_time_is_of_now(series):
    before = clock.now()
    series.publish(series.ended(0), series.ended(1))
    assert before <= series.row(1)["completed_at"] <= clock.now()


def test_a_held_task_that_failed_is_started_before_it_ends(series):
    series.publish(series.ended(0), series.ended(1, TaskStatus.ERROR), series.ended(2))
    assert series.queue_db.event_types() == [STARTED, COMPLETED] * 3
    assert [series.queue_db.get(id).status for id in series.ids] == ["completed", "error", "completed"]


def test_a_held_task_that_is_retried_is_ready_again(queue_db):
    series = Series(queue_db, 2, retries=1)
    series.publish(series.ended(0), series.ended(1, TaskStatus.PENDING))
    assert queue_db.event_types() == [STARTED, COMPLETED, STARTED, RETRYING]
    assert [one.attempt for one in series.take(4)] == [2]


def test_a_series_is_published_and_the_next_taken_in_one_transaction(queue_db):
    series = Series(queue_db, 2)
    following = [queue_db.launch(concurrency_key="one") for _ in range(2)]
    taken = series.publish(series.ended(0), series.ended(1), count=4)
    assert [one.task.id for one in taken] == following
    assert [one.current for one in taken] == [True, False]


def test_the_task_that_runs_on_is_the_running_one_of_the_slot(series):
    series.taken[1].started_at = 1500
    series.publish(series.ended(0), current=series.taken[1])
    task = series.queue_db.get(series.ids[1])
    assert (task.status, task.slot, series.row(1)["started_at"]) == ("running", 0, 1500)
    assert series.queue_db.event_types() == [STARTED, COMPLETED, STARTED]


def test_a_returned_task_is_ready_with_its_expiry_and_counts_no_attempt(series):
    expiry = series.row(1)["expires_at"]
    assert series.row(1)["due_at"] is None
    series.publish(current=series.taken[0])
    row = series.row(1)
    assert (row["ready"], row["held"], row["owner"], row["due_at"]) == (1, None, None, expiry)
    assert (series.queue_db.get(series.ids[1]).attempt, row["claim"]) == (0, None)


def test_a_held_task_that_completed_lets_its_successors_run(series):
    after = series.queue_db.launch(concurrency_key="two", after=(series.ids[1],))
    series.publish(series.ended(0), series.ended(1))
    assert series.queue_db.queue.promote() == {"two"}
    series.queue_db.start(after, "two")


@pytest.mark.parametrize("role", ["ended", "current", "returned"])
def test_a_held_task_is_published_under_its_own_claim_alone(series, role):
    foreign = Taken(series.taken[1].task, series.taken[1].claim + 100, series.slot, None)
    settlement = Settlement(foreign.number, foreign.claim, TaskStatus.COMPLETED)
    step = {
        "ended": {"ended": [Ended(foreign, 1, settlement)]},
        "current": {"ended": [series.ended(0)], "current": foreign},
        "returned": {"returned": [foreign]},
    }[role]
    with pytest.raises(AssertionError):
        series.queue_db.queue.advance(Step(series.slot, series.queue_db.owner, **step))
    assert series.is_held(1)
    assert series.queue_db.event_types() == [STARTED]


def test_only_ready_tasks_are_held(series):
    delayed = series.queue_db.launch(concurrency_key="one", delay_ms=60_000)
    numbers = [series.queue_db.queue._state(id).number for id in (*series.ids, delayed)]
    values = [{"owner": 7, "claim": 999, "number": number} for number in numbers]
    with series.queue_db.database.write() as transaction:
        assert transaction.run_many("hold_task", values) == 0


# rescue


def test_a_dead_workers_held_tasks_go_back_unless_they_ended(series):
    ended = [
        Rescued(one.number, one.claim, series.ended(at).settlement, "one" if at else None, 1000 + at)
        for at, one in enumerate(series.taken[:2])
    ]
    back = Rescued(series.taken[2].number, series.taken[2].claim, None, "one")
    assert series.queue_db.queue.rescue([*ended, back]) == ["completed", "completed", "pending"]
    assert series.queue_db.event_types() == [STARTED, COMPLETED] * 2
    assert series.queue_db.queue.store.queue.held_by(series.queue_db.owner) == []
    assert [one.task.id for one in series.take(4)] == [series.ids[2]]


@pytest.mark.parametrize("ended", [True, False])
def test_a_rescue_with_an_old_claim_changes_nothing(series, ended):
    one = series.taken[1]
    settlement = Settlement(one.number, one.claim + 100, TaskStatus.COMPLETED) if ended else None
    assert series.queue_db.queue.rescue([Rescued(one.number, one.claim + 100, settlement, "one", 1)]) == [None]
    assert series.is_held(1)


def test_a_second_rescue_does_not_run_a_returned_task(series):
    one = series.taken[1]
    series.publish(current=series.taken[0])
    assert series.queue_db.queue.rescue([Rescued(one.number, one.claim, series.ended(1).settlement, "one", 1)]) == [
        None
    ]
    assert series.queue_db.get(one.task.id).status == "pending"


# other processes


@pytest.mark.parametrize("ask", ["cancel", "complete", "fail", "progress"])
def test_a_held_task_is_asked_for_and_not_changed(series, ask):
    more = ["text"] if ask in ("fail", "progress") else []
    with pytest.raises(HeldByWorker):
        getattr(series.queue_db.queue, ask)(series.ids[1], *more)
    assert series.is_held(1)
    assert [series.is_requested(at) for at in (1, 2)] == [True, False]


def test_a_request_keeps_the_time_of_the_first(series, monkeypatch):
    for now in (5000, 6000):
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        with pytest.raises(HeldByWorker):
            series.queue_db.queue.cancel(series.ids[1])
    assert series.row(1)["requested"] == 5000


def test_cancelling_many_cancels_the_others_and_asks_for_the_held(series, monkeypatch):
    woken: list[int] = []
    monkeypatch.setattr("backburner.ipc.store.processes.wake_process", lambda _, owner: woken.append(owner))
    waiting = series.queue_db.launch()
    with pytest.raises(HeldByWorker):
        series.queue_db.queue.cancel_all([series.ids[0], series.ids[1], waiting])
    assert series.queue_db.get(waiting).status == "cancelled"
    assert series.queue_db.get(series.ids[0]).stopping
    assert woken == [series.queue_db.owner]
    assert (series.is_held(1), series.is_requested(1)) == (True, True)


def test_a_limit_is_not_set_while_tasks_are_held(series):
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.limit("one", 5)
    assert series.queue_db.groups.limits().limit("one") == 1
    assert [series.is_requested(at) for at in (1, 2)] == [True, True]


def test_workers_take_series_again_after_a_limit_could_not_be_set(series):
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.limit("one", 5)
    series.publish(series.ended(0))
    assert len(series.take(4)) == 2


def test_limits_are_applied_once_no_task_is_held(series):
    assert series.queue_db.groups.configure() == {series.queue_db.owner}
    series.publish(series.ended(0))
    series.taken = series.take(4)
    assert len(series.taken) == 1
    assert series.queue_db.groups.configure() == set()
    series.publish(series.ended(0))
    series.queue_db.launch(concurrency_key="one")
    assert len(series.take(4)) == 2


def test_a_pause_asks_for_the_held_tasks_of_its_group_alone(series):
    for _ in range(4):
        series.queue_db.launch(concurrency_key="two")
    other = series.queue_db.queue.take(Slot("two", 0), series.queue_db.owner, 2)[1]
    with pytest.raises(HeldByWorker):
        series.queue_db.groups.pause("one")
    assert series.queue_db.get(series.ids[1]).waiting_for == "paused"
    assert [series.is_requested(at) for at in (1, 2)] == [True, True]
    series.ids.append(other.task.id)
    assert not series.is_requested(3)


@pytest.mark.parametrize(
    "ask",
    [
        lambda queue_db, id: queue_db.queue.cancel(id),
        lambda queue_db, id: queue_db.queue.cancel_all([id]),
        lambda queue_db, id: queue_db.groups.limit("one", 3),
        lambda queue_db, id: queue_db.groups.pause("one"),
    ],
    ids=["cancel", "cancel_all", "limit", "pause"],
)
def test_a_process_that_asks_goes_on_when_the_worker_has_published(
    publishing, ask: Callable[[QueueDatabase, str], object]
):
    ask(publishing.queue_db, publishing.ids[1])
    assert not publishing.is_held(1)


def test_a_held_task_neither_expires_nor_becomes_ready(series, monkeypatch):
    later = clock.now() + 60_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert series.queue_db.queue.store.queue.next_due() is None
    series.queue_db.queue.promote()
    assert series.is_held(1)
    series.publish(current=series.taken[0])
    series.queue_db.queue.promote()
    assert series.queue_db.get(series.ids[1]).error_kind == "expired"


def test_the_expiry_of_a_held_task_moves_with_the_wall_clock(series):
    expiry = series.row(1)["expires_at"]
    series.queue_db.queue.store.queue.shift(7000, clock.now() + 1)
    series.publish(current=series.taken[0])
    assert series.row(1)["due_at"] == expiry + 7000


def test_a_held_task_follows_its_session(series):
    assert adopt(series.queue_db.database, "ses-1", "ses-2").tasks == 3
    assert series.is_held(1)
    series.publish(series.ended(0), series.ended(1))
    assert series.queue_db.event_types("ses-2") == [COMPLETED, STARTED, COMPLETED]


def test_an_import_skips_a_held_task(publishing):
    maintenance = Maintenance(publishing.queue_db.database, publishing.queue_db.config)
    task = {"id": publishing.ids[1], "agent": "command", "status": "completed", "queuedAt": "2026-01-01T00:00:00.000Z"}
    assert maintenance.load({"format": "backburner", "version": 1, "tasks": [task]}).skipped == 1
    assert publishing.is_held(1)


def test_a_held_task_is_not_pruned(series, monkeypatch):
    later = clock.now() + 1000 * 86_400_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert Maintenance(series.queue_db.database, series.queue_db.config).prune().tasks == 0
    assert series.is_held(1)


def test_a_group_counts_held_tasks_as_pending(series):
    def counted() -> tuple[int, int]:
        one = next(group for group in series.queue_db.groups.all() if group.name == "one")
        return one.running, one.pending

    assert counted() == (1, 2)
    series.publish(series.ended(0), series.ended(1), current=series.taken[2])
    assert counted() == (1, 0)


# the schema


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("cancel_pending", {}),
        ("end_pending", {"kind": "expired", "error": "late"}),
        ("make_ready", {"ready": 1}),
        ("cancel_waiting", {"limit": 9}),
    ],
)
def test_a_statement_for_pending_tasks_passes_over_held_ones(series, name, more):
    number = series.taken[1].number
    with series.queue_db.database.write() as transaction:
        assert transaction.run(name, {"number": number, "now": 1, **more}) == 0
    assert series.is_held(1)


@pytest.mark.parametrize(
    "change",
    [
        "status = 'cancelled', completed_at = 1, ready = 0",
        "status = 'cancelled', completed_at = 1, ready = 0, held = NULL, owner = NULL",
        "status = 'error', error_kind = 'lost', completed_at = 1, ready = 0, held = NULL, owner = NULL",
        "status = 'running', slot = 5, claim = held",
        "status = 'completed', completed_at = 1",
        "ready = 1",
        "owner = 77",
        "owner = NULL",
        "limit_group = 'two'",
        "held = 77",
    ],
)
def test_another_program_cannot_change_a_held_task(series, change):
    refused = pytest.raises(sqlite3.IntegrityError, match="held by its worker")
    with closing(sqlite3.connect(series.queue_db.home.database)) as raw, refused:
        raw.execute(f"UPDATE tasks SET {change} WHERE id = ?", (series.ids[1],))
    assert series.is_held(1)


def test_another_program_cannot_delete_a_held_task(series):
    refused = pytest.raises(sqlite3.IntegrityError, match="held by its worker")
    with closing(sqlite3.connect(series.queue_db.home.database)) as raw, refused:
        raw.execute("DELETE FROM tasks WHERE id = ?", (series.ids[1],))
    assert series.is_held(1)


def test_a_change_that_the_schema_refuses_is_refused_as_a_move(series):
    with pytest.raises(MoveNotAllowed, match="held by its worker"), series.queue_db.database.write() as transaction:
        transaction.run("delete_task", {"number": series.taken[1].number})


@pytest.mark.parametrize(
    "change",
    [
        "ready = 2",
        "held = 77",
        "ready = 2, held = 77",
        "requested = 1",
        "ready = 2, held = 77, owner = 1, status = 'running', slot = 9, claim = 77",
        "status = 'completed', completed_at = 1, claim = 77",
    ],
)
def test_a_task_is_held_by_a_worker_under_a_claim_or_not_at_all(queue_db, change):
    id = queue_db.launch()
    with closing(sqlite3.connect(queue_db.home.database)) as raw, pytest.raises(sqlite3.IntegrityError):
        raw.execute(f"UPDATE tasks SET {change} WHERE id = ?", (id,))
    assert queue_db.get(id).status == "pending"


# copies


def test_a_backup_waits_until_held_tasks_are_published(publishing, tmp_path):
    back_up(publishing.queue_db.database, tmp_path / "file", replacing=False)
    assert restore(Home(tmp_path / "other"), tmp_path / "file", replacing=False) == 1
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).status for id in publishing.ids] == ["error", "pending", "pending"]
        other.groups.configure()
        assert len(other.queue.take(Slot("one", 0), other.owner, 4)) >= 1


def test_a_backup_is_made_though_a_dead_worker_holds_tasks(series, tmp_path):
    back_up(series.queue_db.database, tmp_path / "file", replacing=False)
    wreck = DamagedDatabase(tmp_path / "file")
    try:
        assert [row["ready"] for row in wreck.rows("tasks")] == [1, 2, 2]
    finally:
        wreck.close()


def test_held_tasks_of_a_restored_copy_are_lost(series, tmp_path):
    series.queue_db.database._connection.execute("DELETE FROM processes")
    series.queue_db.database.copy_to(tmp_path / "file")
    assert restore(Home(tmp_path / "other"), tmp_path / "file", replacing=False) == 3
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).error_kind for id in series.ids] == ["lost"] * 3
        assert other.groups.all()[0].pending == 0


def test_held_tasks_of_a_salvaged_database_are_lost(home):
    with QueueDatabase(home, model_concurrency={"one": 1}) as queue_db:
        queue_db.groups.configure()
        series = Series(queue_db, 3)
        queue_db.database._connection.execute("DELETE FROM inputs WHERE task = ?", (series.taken[2].number,))
        queue_db.database.checkpoint()
    with closing(sqlite3.connect(home / "backburner.db")) as raw:
        page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox'").fetchone()[0]
    with open(home / "backburner.db", "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\0" * 100)
    assert salvage(Home(home)).lost == 3
    with QueueDatabase(home) as queue_db:
        assert [queue_db.get(id).error_kind for id in series.ids] == ["lost"] * 3
        assert queue_db.queue.store.queue.all_held() == []


def test_an_export_waits_until_held_tasks_are_published(publishing):
    maintenance = Maintenance(publishing.queue_db.database, publishing.queue_db.config)
    assert "".join(maintenance.export()).count('"pending"') == 2
    assert not publishing.is_held(1)


def test_a_clear_cancels_held_tasks_once_they_are_published(publishing, monkeypatch):
    maintenance = Maintenance(publishing.queue_db.database, publishing.queue_db.config)

    def end_running(_: object, running: list[str]) -> None:
        if running:
            publishing.queue_db.queue.settle(publishing.ended(0).settlement)

    monkeypatch.setattr("backburner.ipc.api.maintenance.wait_until_gone", end_running)
    assert maintenance.clear().tasks == 3


#: Columns of older schemas, and their names now.
RENAMED = {"grp": "limit_group", "uniq": "unique_key", "most": "slot_limit"}


def test_a_database_of_the_former_schema_gets_series(home):
    with QueueDatabase(home) as queue_db:
        ids = [queue_db.run(), queue_db.launch(), queue_db.launch(delay_ms=60_000)]
        running = queue_db.launch(concurrency_key="one")
        queue_db.claim("one")
        queue_db.database.checkpoint()
    older = home / "older.db"
    with closing(sqlite3.connect(older, isolation_level=None)) as raw:
        migrations.apply(Tables(raw), stop_before="fifth_schema")
        raw.execute("ATTACH ? AS newer", (str(home / "backburner.db"),))
        for table in ("tasks", "inputs", "groups", "keys", "settings", "processes"):
            newer = {row[1] for row in raw.execute(f"PRAGMA newer.table_info({table})")}
            columns = [row[1] for row in raw.execute(f"PRAGMA main.table_info({table})")]
            names = {name: RENAMED.get(name, name) for name in columns if RENAMED.get(name, name) in newer}
            old, new = ", ".join(names), ", ".join(names.values())
            raw.execute(f"INSERT OR REPLACE INTO main.{table} ({old}) SELECT {new} FROM newer.{table}")
        raw.execute("PRAGMA user_version = 4")
    for left in home.glob("backburner.db*"):
        left.unlink()
    shutil.move(older, home / "backburner.db")
    with QueueDatabase(home) as queue_db:
        assert [queue_db.get(id).status for id in (*ids, running)] == ["completed", "pending", "pending", "running"]
        assert [one.task.id for one in queue_db.queue.take(Slot("command", 0), queue_db.owner, 4)] == [ids[1]]
        assert len(Series(queue_db, 4).taken) == 0
