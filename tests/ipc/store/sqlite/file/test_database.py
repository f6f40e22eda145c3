"""One file, many processes: the gate, the migrations, the schema and its triggers."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database as Tables

from backburner.ipc import clock
from backburner.ipc.api.maintenance import Maintenance
from backburner.ipc.errors import GateBusy, MoveNotAllowed, NewerSchema, Permanent, Temporary
from backburner.ipc.home import Home
from backburner.ipc.model.task import MOVES, TaskStatus
from backburner.ipc.store.retention import DAY
from backburner.ipc.store.sqlite.file import database as module
from backburner.ipc.store.sqlite.file.counters import JUMP
from backburner.ipc.store.sqlite.file.database import CHECKPOINT_AT, CHECKPOINT_LOOK, SCHEMA
from backburner.ipc.store.sqlite.file.migrations import migrations
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
from backburner.ipc.store.sqlite.sql import statement
from backburner.ipc.store.sqlite.store import SqliteStore
from tests.helpers.places import IMPORT_ROOT, IPC, ROOT
from tests.helpers.processes import open_files
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

STATEMENTS = sorted(
    path for path in (IPC / "store" / "sqlite" / "sql").glob("*.sql") if not path.stem.startswith("schema_")
)

#: Statements of every transaction or every turn of a loop. Their cost does not grow with the number of tasks or events.
FREQUENT = """
    has_finished_dependency has_running_task has_unbatched_end has_unsettled_task cancel_pending count_ready
    count_ready_up_to count_unfinished end_held end_pending find_ids get_first_event_after
    delete_finished_dependencies find_free_slot get_assigned get_digest get_output get_task return_held_task
    hold_task find_unique_holder insert_dependency save_snapshot get_last_id get_last_seq list_all_held list_due
    list_held list_holders list_finished_dependencies list_ready list_running list_tasks list_tasks_of_parent
    list_unfinished_ids list_unfinished_tasks list_failed_tasks list_waiting_groups make_ready check_slot
    has_more_unbatched move_pending move_running get_newest_event get_next_due set_pid list_old_events
    list_old_tasks park_worker place_task read_events read_events_of_parent request_held request_held_of_group
    retry_task set_progress set_stale settle_task start_task get_state get_group_state take_claims take_parked
    take_unbatched get_truncation unpark_worker find_slot_deadlock write_verdict
""".split()

#: A scan of a table or an index that stops early, or that reads a partial index of unfinished rows.
SHORT_SCAN = re.compile(
    r"SCAN \w+( USING (COVERING )?INDEX "
    r"(tasks_(ready|unready|held|running|due|unfinished|failed)|dependencies_finished))?"
)


@pytest.fixture
def opened(home: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(Home(home).prepare(), "normal")) as found:
        yield found


@pytest.fixture
def raw(opened: SqliteStore, home: Path) -> Iterator[sqlite3.Connection]:
    """Open a second connection to the file, which none of the code under test uses."""
    with closing(sqlite3.connect(home / "backburner.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Open one empty database for all tests that only ask for the plans of statements."""
    home = Home(tmp_path_factory.mktemp("schema") / ".backburner").prepare()
    with closing(SqliteStore(home, "normal")), closing(sqlite3.connect(home.database)) as connection:
        yield connection


#: Tasks of a home of schema 4: one that a batch reports, one that ended later, and a pending one.
SCHEMA_4_TASKS = (
    """INSERT INTO tasks (number, id, parent, agent, key, grp, ready, queued_at, retries, max_attempts)
    SELECT value, 'bg-' || value, 'ses-1', 'command', 'k', 'k', 1, :at, 0, 1 FROM json_each('[1, 2, 3]')""",
    "INSERT INTO inputs (task, cwd, command) SELECT number, '/', '[\"true\"]' FROM tasks",
    "UPDATE tasks SET status = 'running', slot = number, claim = number, started_at = :at WHERE number < 3",
    "UPDATE tasks SET status = 'completed', slot = NULL, completed_at = :at WHERE number = 1",
    "INSERT INTO batches (seq, parent, at, body) SELECT seq, parent, :at, :body FROM outbox",
    "UPDATE tasks SET status = 'completed', slot = NULL, completed_at = :at WHERE number = 2",
)


def home_of_schema_4(home: Home) -> None:
    """Create the database of a home that an earlier release used 40 days ago."""
    at = clock.now() - 40 * DAY
    body = {"taskIds": ["bg-1"], "source": "x", "tasks": [{"id": "bg-1", "completedAt": clock.iso(at)}], "count": 1}
    values = {"at": at, "body": json.dumps(body)}
    with closing(sqlite3.connect(home.database, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        migrations.apply(Tables(raw), stop_before="fifth_schema")
        for statement in SCHEMA_4_TASKS:
            raw.execute(statement, values)
        raw.execute("PRAGMA user_version = 4")


def plan(raw: sqlite3.Connection, text: str) -> list[str]:
    """Return the steps by which SQLite would execute a statement."""
    values = dict.fromkeys(re.findall(r":(\w+)", text))
    return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", values)]


def test_moves_of_the_schema_are_those_of_the_code(raw):
    assert {(TaskStatus(was), TaskStatus(becomes)) for was, becomes in raw.execute("SELECT * FROM moves")} == MOVES


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_every_statement_fits_the_schema(schema, path):
    text = statement(path.stem)
    plan(schema, f"{text} DEFAULT VALUES" if text.endswith(" ") else text)


@pytest.mark.parametrize("name", FREQUENT)
def test_frequent_statement_scans_no_history(schema, name):
    text = statement(name)
    steps = [step for step in plan(schema, text) if step.startswith("SCAN")]
    assert [step for step in steps if not _is_short(step, text)] == []


def _is_short(step: str, text: str) -> bool:
    """Return True for a scan of a partial index of unfinished rows, or one that stops at its first rows."""
    if re.fullmatch(r"SCAN (\w+ )?(CONSTANT ROW|json_each.*)|SCAN \(.*\)", step):
        return True
    if "tasks_" in step or "dependencies_finished" in step:
        return bool(SHORT_SCAN.fullmatch(step))
    return bool(re.search(r"LIMIT|max\(|min\(|EXISTS", text)) or "counters" in step or "sqlite_sequence" in step


def test_eight_processes_that_open_a_new_home_create_one_database(home):
    code = (
        "import sys; from pathlib import Path\n"
        "from backburner.ipc.store.sqlite.store import SqliteStore\n"
        "from backburner.ipc.home import Home; \n"
        "sys.stdin.readline()\n"
        "database = SqliteStore(Home(Path(sys.argv[1])).prepare())\n"
        "print(database.events.id()); database.close()"
    )
    command = [sys.executable, "-c", code, str(home)]
    environment = {**os.environ, "PYTHONPATH": str(IMPORT_ROOT)}
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) for _ in range(8)]
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=50) for process in processes]
    assert [error for _, error in outputs if error] == []
    assert len({out for out, _ in outputs}) == 1


def test_database_files_are_private(opened, home):
    with opened.write():
        pass
    modes = {path.name: path.stat().st_mode & 0o777 for path in home.iterdir() if path.name.startswith("backburner.db")}
    assert set(modes.values()) == {0o600}
    assert home.stat().st_mode & 0o777 == 0o700


def test_migrated_home_reports_and_prunes_old_and_new_ends(home):
    home_of_schema_4(Home(home).prepare())
    with QueueDatabase(home) as queue_db:
        assert queue_db.log.form_batch("ses-1", 5) == 1
        lines = queue_db.log.read("ses-1", 0, 99)
        batches = [json.loads(line.text) for line in lines if line.type == "background_tasks_batch"]
        assert [[task["id"] for task in batch["tasks"]] for batch in batches] == [["bg-1"], ["bg-2"]]
        queue_db.log.acknowledge("ses-1", "default", batches[0]["seq"])
        maintenance = Maintenance(queue_db.store, queue_db.config)
        assert maintenance.prune().tasks == 1
        assert [task.id for task in maintenance.tasks()] == ["bg-2", "bg-3"]


def test_newer_schema_is_refused(opened, raw, home):
    raw.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(NewerSchema, match="upgrade"):
        SqliteStore(Home(home))


def test_file_that_is_no_database_is_refused_and_not_changed(home):
    Home(home).prepare()
    (home / "backburner.db").write_bytes(b"not a database, but somebody's notes" * 100)
    with pytest.raises(Permanent, match=str(home)):
        SqliteStore(Home(home))
    assert (home / "backburner.db").read_bytes().startswith(b"not a database")


def test_exception_rolls_the_transaction_back(opened):
    with pytest.raises(ZeroDivisionError), opened.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "1"})
        raise ZeroDivisionError
    with opened.read() as transaction:
        assert transaction.setting("x") is None


def test_failed_commit_leaves_nothing_and_releases_the_gate(opened):
    with pytest.raises(AssertionError, match="FOREIGN KEY"), opened.write() as transaction:
        opened._connection.execute("PRAGMA defer_foreign_keys = ON")
        transaction.run("set_setting", {"name": "x", "value": "1"})
        transaction.run("insert_output", {"claim": 1, "stream": "stdout", "task": 99, "data": b""})
    assert not opened._connection.in_transaction
    with opened.write() as transaction:
        assert transaction.setting("x") is None


HOLDER = """
import sys; from pathlib import Path
from backburner.ipc.store.sqlite.store import SqliteStore; from backburner.ipc.home import Home
with SqliteStore(Home(Path(sys.argv[1]))).write() as transaction:
    transaction.run("set_setting", {"name": "x", "value": "holder"})
    print("holding", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(opened: SqliteStore, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start another process, which holds a write transaction open."""
    command = [sys.executable, "-c", HOLDER, str(home)]
    environment = {**os.environ, "PYTHONPATH": str(IMPORT_ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"holding\n"
        yield process
        process.kill()


def test_waiting_writer_is_refused_with_the_process_id_of_the_holder(opened, holder, home):
    gate = WriteGate.of(Home(home).lock("gate"))
    gate.timeout = 0.1
    with pytest.raises(GateBusy, match=str(holder.pid)), opened.write():
        pass


def test_refused_writer_blocks_no_other_thread(opened, holder, home):
    WriteGate.of(Home(home).lock("gate")).timeout = 0.1
    with pytest.raises(GateBusy), opened.write():
        pass
    WriteGate.of(Home(home).lock("gate")).timeout = 10
    holder.kill()
    other = threading.Thread(target=_write_setting, args=(opened,), daemon=True)
    other.start()
    other.join(30)
    with opened.read() as transaction:
        assert transaction.setting("x") == "thread"


def _write_setting(database: SqliteStore) -> None:
    with database.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "thread"})


def test_write_after_a_replacement_goes_to_the_new_database(opened, home):
    with opened.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "old"})
    shutil.rmtree(home)
    with closing(SqliteStore(Home(home).prepare())), opened.write() as transaction:
        assert transaction.setting("x") is None


def test_readers_do_not_wait_for_the_gate(opened, holder):
    with opened.read() as transaction:
        assert transaction.setting("x") is None


def test_killed_writer_releases_the_gate_and_leaves_nothing(opened, holder):
    holder.kill()
    with opened.write() as transaction:
        assert transaction.setting("x") is None


def test_deleted_gate_is_recreated(opened, home):
    with opened.write():
        pass
    Home(home).lock("gate").unlink()
    with opened.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "1"})
    assert Home(home).lock("gate").exists()


def test_commit_of_another_process_is_detected(opened, home):
    with closing(SqliteStore(Home(home))) as other:
        before = other.changed()
        assert other.changed() == before
        with opened.write() as transaction:
            transaction.run("set_setting", {"name": "x", "value": "1"})
        assert other.changed() != before


def test_new_boot_skips_numbers_once(home, monkeypatch):
    with QueueDatabase(home) as queue_db:
        queue_db.run(parent_session_id="ses-1")
        seq, claim = queue_db.log.last_seq(), queue_db.start(queue_db.launch()).claim
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    for _ in range(2):
        with QueueDatabase(home) as queue_db:
            queue_db.log.acknowledge("ses-1", "default", seq)
            last = queue_db.log.last_seq()
            queue_db.launch()
    assert last == seq + 1 + JUMP
    with QueueDatabase(home) as queue_db:
        assert queue_db.claim(slot=1).claim == claim + 1 + JUMP
        assert queue_db.log.read(None, last, 9)[0].seq == last + 1


def test_racing_first_writers_of_a_boot_skip_numbers_once(home, monkeypatch):
    with QueueDatabase(home) as queue_db:
        queue_db.run()
        seq = queue_db.log.last_seq()
        monkeypatch.setattr(module, "boot_id", lambda: "another boot")
        stores = [SqliteStore(queue_db.home, "normal") for _ in range(4)]
        with ThreadPoolExecutor(len(stores)) as pool:
            barrier = threading.Barrier(len(stores))
            list(pool.map(lambda store: (barrier.wait(), store.limits.set_single(False)), stores))
        for store in stores:
            store.close()
        assert queue_db.log.last_seq() == seq + JUMP


def test_checkpoint_copies_the_log_and_truncates_it(opened):
    for number in range(50):
        with opened.write() as transaction:
            transaction.run("set_setting", {"name": f"x{number}", "value": "v" * 1000})
    assert opened.wal_bytes() > 0
    opened.checkpoint()
    assert opened.wal_bytes() == 0


def test_checkpoint_and_close_wait_for_the_gate(opened):
    assert opened._connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
    with opened.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "v" * 100_000})
    size = opened.wal_bytes()
    command = [sys.executable, "-c", HOLD, str(opened.home.lock("gate"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout.readline() == b"in\n"
        opened._gate.timeout = 0.1
        for call in (opened.checkpoint, opened.close):
            with pytest.raises(GateBusy, match=str(other.pid)):
                call()
        assert opened.wal_bytes() == size > 0
        other.communicate(b"")


HOLD = """
import sys
from pathlib import Path
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
with WriteGate.of(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_wal_length_counts_frames_since_restart_not_file_size(opened):
    def write(times: int, size: int) -> bytes:
        for _ in range(times):
            with opened.write() as transaction:
                transaction.run("set_setting", {"name": "x", "value": os.urandom(size).hex()})
        return Path(f"{opened.home.database}-wal").read_bytes()[
            16:24
        ]  # the salts of its header, which a restart changes

    opened.durability = "normal"
    first = write(CHECKPOINT_LOOK * 2 - opened._written % CHECKPOINT_LOOK, 50_000)
    again = write(CHECKPOINT_LOOK, 10)
    assert again != first
    assert opened.wal_bytes() > CHECKPOINT_AT
    assert write(CHECKPOINT_LOOK * 3, 10) == again


@pytest.mark.parametrize("gone", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("away"))])
def test_close_succeeds_after_the_home_was_deleted(opened, gone):
    with opened.write() as transaction:
        transaction.run("set_setting", {"name": "x", "value": "v"})
    gone(opened.home.folder)
    opened.close()
    with pytest.raises(Temporary), opened.read():
        pass
    assert not opened.home.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="open files are read from /proc")
def test_released_database_has_no_open_file_and_reopens_for_a_transaction(opened):
    with opened.write() as transaction:
        transaction.run("set_setting", {"name": "kept", "value": "1"})
    assert str(opened.home.database) in open_files(os.getpid()).values()
    opened.release()
    assert not [file for file in open_files(os.getpid()).values() if file.startswith(str(opened.home.database))]
    with opened.read() as transaction:
        assert transaction.setting("kept") == "1"


def test_failed_reopening_is_repeated_by_the_next_transaction(opened):
    opened.release()
    with closing(sqlite3.connect(opened.home.database)) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        with pytest.raises(NewerSchema), opened.read():
            pass
        other.execute(f"PRAGMA user_version = {SCHEMA}")
    with opened.read() as transaction:
        assert transaction.fetch_value("get_last_seq") == 0


def test_closed_database_is_refused(opened):
    other = SqliteStore(opened.home)
    other.close()
    with pytest.raises(Temporary, match="closed"), other.read():
        pass


ILLEGAL = sorted({(was, becomes) for was in TaskStatus for becomes in TaskStatus} - MOVES)


@pytest.mark.parametrize(("was", "becomes"), ILLEGAL)
def test_schema_refuses_moves_that_are_not_in_the_table(home, was, becomes):
    with QueueDatabase(home) as queue_db:
        id = _task_in(queue_db, was)
        with closing(sqlite3.connect(home / "backburner.db")) as raw, pytest.raises(sqlite3.IntegrityError):
            _force(raw, id, becomes)
        assert queue_db.get(id).status is was


def _task_in(queue_db: QueueDatabase, status: TaskStatus) -> str:
    if status.ended:
        return queue_db.run(status)
    id = queue_db.launch()
    if status is TaskStatus.RUNNING:
        queue_db.start(id)
    return id


def _force(raw: sqlite3.Connection, id: str, status: TaskStatus) -> None:
    """Set a status and all columns that the CHECKs require, so that only the moves can refuse it."""
    slot = 5 if status is TaskStatus.RUNNING else None
    kind = "failed" if status is TaskStatus.ERROR else None
    raw.execute(
        "UPDATE tasks SET status = ?, slot = ?, claim = 9, completed_at = ?, error_kind = ?, started_at = 1"
        " WHERE id = ?",
        (status, slot, 1 if status.ended else None, kind, id),
    )


def test_illegal_move_raises_move_not_allowed(home):
    with QueueDatabase(home) as queue_db:
        id = queue_db.run()
        number = queue_db.queue._state(id).number
        with pytest.raises(MoveNotAllowed), queue_db.store.write() as transaction:
            transaction.run("cancel_waiting", {"now": 1, "limit": 1})
            queue_db.store._connection.execute("UPDATE tasks SET status = 'pending' WHERE number = ?", (number,))


def test_schema_refuses_two_running_tasks_in_one_slot(home):
    with QueueDatabase(home) as queue_db:
        queue_db.launch()
        queue_db.start(queue_db.get(queue_db.queue.unfinished()[0]).id)
        second = queue_db.launch()
        assert queue_db.claim(slot=0) is None
        with closing(sqlite3.connect(home / "backburner.db")) as raw, pytest.raises(sqlite3.IntegrityError):
            raw.execute(
                "UPDATE tasks SET status = 'running', slot = 0, claim = 9, started_at = 1 WHERE id = ?", (second,)
            )


def test_status_and_its_event_are_one_transaction(home):
    with QueueDatabase(home) as queue_db:
        id = queue_db.launch(parent_session_id="ses-1")
        with pytest.raises(ZeroDivisionError), queue_db.store.write() as transaction:
            transaction.run("cancel_waiting", {"now": 1, "limit": 9})
            raise ZeroDivisionError
        assert queue_db.get(id).status is TaskStatus.PENDING
        assert queue_db.event_types() == []
        queue_db.queue.cancel(id)
        assert queue_db.event_types() == ["background_task_completed"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_waits_for_the_gate_of_its_parent(opened):
    with opened.write():
        pid = os.fork()
        if pid == 0:
            gate = WriteGate.of(opened.home.lock("gate"))
            gate.timeout = 0.05
            try:
                with gate:
                    os._exit(1)
            except GateBusy:
                os._exit(0)
        assert eventually(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)


def test_structured_values_are_stored_as_json(home):
    with QueueDatabase(home) as queue_db:
        queue_db.launch(call="m:f", args=(1, "a"), kwargs={"b": None}, metadata={"c": [1]})
        with closing(sqlite3.connect(home / "backburner.db")) as raw:
            row = raw.execute("SELECT args, kwargs, metadata FROM inputs").fetchone()
        assert [json.loads(text) for text in row] == [[1, "a"], {"b": None}, {"c": [1]}]
