"""Held tasks in SQLite: statements, triggers and constraints that protect them, and copies of the database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlite_utils import Database as Tables

from backburner.ipc.errors import MoveNotAllowed
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Slot
from backburner.ipc.store.sqlite.file.backup import back_up, restore
from backburner.ipc.store.sqlite.file.damaged import DamagedDatabase
from backburner.ipc.store.sqlite.file.migrations import migrations
from backburner.ipc.store.sqlite.file.salvage import salvage
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.series import Series

# statements


def test_only_ready_tasks_are_held(series):
    delayed = series.queue_db.launch(concurrency_key="one", delay_ms=60_000)
    numbers = [series.queue_db.queue._state(id).number for id in (*series.ids, delayed)]
    values = [{"owner": 7, "claim": 999, "number": number} for number in numbers]
    with series.queue_db.store.write() as transaction:
        assert transaction.run_many("hold_task", values) == 0


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("cancel_pending", {}),
        ("end_pending", {"kind": "expired", "error": "late"}),
        ("make_ready", {"ready": 1}),
        ("cancel_waiting", {"limit": 9}),
    ],
)
def test_statement_for_pending_tasks_skips_held_ones(series, name, more):
    number = series.taken[1].number
    with series.queue_db.store.write() as transaction:
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


def test_delete_of_a_held_task_raises_move_not_allowed(series):
    with pytest.raises(MoveNotAllowed, match="held by its worker"), series.queue_db.store.write() as transaction:
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
def test_schema_refuses_a_held_task_without_worker_or_claim(limited, change):
    id = limited.launch()
    with closing(sqlite3.connect(limited.home.database)) as raw, pytest.raises(sqlite3.IntegrityError):
        raw.execute(f"UPDATE tasks SET {change} WHERE id = ?", (id,))
    assert limited.get(id).status == "pending"


# copies


def test_backup_waits_until_held_tasks_are_published(publishing, tmp_path):
    back_up(publishing.queue_db.store, tmp_path / "file", replacing=False)
    assert restore(Home(tmp_path / "other"), tmp_path / "file", replacing=False) == 1
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).status for id in publishing.ids] == ["error", "pending", "pending"]
        other.groups.configure()
        assert len(other.queue.take(Slot("one", 0), other.owner, 4)) >= 1


def test_backup_is_made_although_a_dead_worker_holds_tasks(series, tmp_path):
    back_up(series.queue_db.store, tmp_path / "file", replacing=False)
    with closing(DamagedDatabase(tmp_path / "file")) as copy:
        assert [row["ready"] for row in copy.rows("tasks")] == [1, 2, 2]


def test_held_tasks_of_a_restored_copy_are_lost(series, tmp_path):
    series.queue_db.store._connection.execute("DELETE FROM processes")
    series.queue_db.store.copy_to(tmp_path / "file")
    assert restore(Home(tmp_path / "other"), tmp_path / "file", replacing=False) == 3
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).error_kind for id in series.ids] == ["lost"] * 3
        assert other.groups.all()[0].pending == 0


def test_held_tasks_of_a_salvaged_database_are_lost(home):
    with QueueDatabase(home, model_concurrency={"one": 1}) as queue_db:
        queue_db.groups.configure()
        series = Series(queue_db, 3)
        queue_db.store._connection.execute("DELETE FROM inputs WHERE task = ?", (series.taken[2].number,))
        queue_db.store.checkpoint()
    with closing(sqlite3.connect(home / "backburner.db")) as raw:
        page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outbox'").fetchone()[0]
    with open(home / "backburner.db", "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\0" * 100)
    assert salvage(Home(home)).lost == 3
    with QueueDatabase(home) as queue_db:
        assert [queue_db.get(id).error_kind for id in series.ids] == ["lost"] * 3
        assert queue_db.queue.store.queue.all_held() == []


#: Columns of older schemas, and their names now.
RENAMED = {"grp": "limit_group", "uniq": "unique_key", "most": "slot_limit"}


def test_migrated_database_supports_series(home):
    with QueueDatabase(home) as queue_db:
        ids = [queue_db.run(), queue_db.launch(), queue_db.launch(delay_ms=60_000)]
        running = queue_db.launch(concurrency_key="one")
        queue_db.claim("one")
        queue_db.store.checkpoint()
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
