"""Backups are complete, a restore repeats no number, and a salvage keeps all readable rows."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc.errors import AlreadyRunning, Damaged, InvalidInput, MoveNotAllowed, Permanent
from backburner.ipc.failpoints import WATCH
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Slot
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.sqlite.file.backup import back_up, restore
from backburner.ipc.store.sqlite.file.counters import JUMP
from backburner.ipc.store.sqlite.file.damaged import DamagedDatabase, flaws_of
from backburner.ipc.store.sqlite.file.inspection import Inspection
from backburner.ipc.store.sqlite.file.salvage import salvage
from backburner.ipc.store.sqlite.store import SqliteStore
from tests.helpers.places import ROOT
from tests.helpers.queue_db import QueueDatabase

PAGE = 4096


@pytest.fixture
def queue_db(home: Path):
    with QueueDatabase(home) as queue_db:
        yield queue_db


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "saved.bak"


def page_of(home: Path, table: str) -> int:
    """Return the first page of a table."""
    with closing(sqlite3.connect(home / "backburner.db")) as raw:
        return int(raw.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])


def overwrite(path: Path, *pages: int) -> None:
    """Overwrite pages of a database, which no process has open, with random bytes."""
    noise = random.Random(7)
    with open(path, "r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(noise.randbytes(PAGE))


# backup


def test_backup_is_one_private_undamaged_file(queue_db: QueueDatabase, file: Path):
    queue_db.run()
    size = back_up(queue_db.store, file, replacing=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == size
    assert flaws_of(file) == []
    assert list(file.parent.iterdir()) == [file]


def test_backup_replaces_a_file_only_with_force(queue_db: QueueDatabase, file: Path):
    file.write_text("mine")
    with pytest.raises(InvalidInput, match="--force"):
        back_up(queue_db.store, file, replacing=False)
    assert file.read_text() == "mine"
    back_up(queue_db.store, file, replacing=True)
    assert flaws_of(file) == []


def test_backup_never_replaces_the_database_itself(queue_db: QueueDatabase):
    with pytest.raises(InvalidInput, match="the database itself"):
        back_up(queue_db.store, queue_db.home.database, replacing=True)


def test_backup_never_replaces_a_device_or_a_pipe(queue_db: QueueDatabase, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInput, match="not a regular file"):
        back_up(queue_db.store, pipe, replacing=True)
    assert pipe.is_fifo()


def test_backup_that_cannot_be_written_is_refused_and_leaves_no_file(queue_db: QueueDatabase, tmp_path: Path):
    with pytest.raises(Permanent, match="absent"):
        back_up(queue_db.store, tmp_path / "absent" / "file", replacing=False)
    assert list(tmp_path.iterdir()) == []


def test_backup_is_a_snapshot_while_other_processes_write(queue_db: QueueDatabase, file: Path):
    """Tasks are launched in pairs, so a copy that is not a snapshot may have an odd number."""
    stop = threading.Event()

    def launch() -> None:
        with QueueDatabase(queue_db.home.folder) as other:
            wanted = [LaunchInput(command=("true",)) for _ in range(2)]
            while not stop.is_set():
                other.queue.launch_many(wanted)

    writer = threading.Thread(target=launch)
    writer.start()
    try:
        for _ in range(5):
            back_up(queue_db.store, file, replacing=True)
            assert flaws_of(file) == []
            assert _count(file) % 2 == 0
    finally:
        stop.set()
        writer.join()


def _count(file: Path) -> int:
    with closing(DamagedDatabase(file)) as database:
        return len(database.rows("tasks"))


# restore


def test_restored_home_has_its_tasks_and_running_ones_are_lost(queue_db: QueueDatabase, file: Path, tmp_path: Path):
    ended, waiting, running = (
        queue_db.run(),
        queue_db.launch(parent_session_id="p"),
        queue_db.launch(priority=1, parent_session_id="p"),
    )
    queue_db.start(running)
    back_up(queue_db.store, file, replacing=False)
    assert restore(Home(tmp_path / "other"), file, replacing=False) == 1
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).status for id in (ended, waiting, running)] == ["completed", "pending", "error"]
        assert other.get(running).error_kind == "lost"
        assert other.event_types("p")[-1] == "background_task_completed"
        assert other.groups.all()[0].running == 0


def test_repeated_restores_repeat_no_number(queue_db: QueueDatabase, file: Path):
    id = queue_db.launch()
    queue_db.launch()
    claimed = queue_db.start(id)
    back_up(queue_db.store, file, replacing=False)
    queue_db.settle(claimed)
    seq, number = queue_db.log.last_seq(), claimed.claim
    for _ in range(3):
        restore(queue_db.home, file, replacing=True)
        again = queue_db.claim()
        assert again is not None
        queue_db.settle(again)
        assert again.claim >= number + JUMP
        assert queue_db.log.read(None, seq, 1)[0].seq >= seq + JUMP
        seq, number = queue_db.log.last_seq(), again.claim


def test_events_of_lost_tasks_get_new_numbers_in_a_restore(queue_db: QueueDatabase, file: Path):
    running = queue_db.start(queue_db.launch())
    back_up(queue_db.store, file, replacing=False)
    queue_db.settle(running)
    seq = queue_db.log.last_seq()
    assert restore(queue_db.home, file, replacing=True) == 1
    assert [line.type for line in queue_db.log.read(None, seq + JUMP, 10)] == ["background_task_completed"]


def test_restore_deletes_the_folder_of_a_killed_restore(queue_db: QueueDatabase, file: Path):
    back_up(queue_db.store, file, replacing=False)
    (queue_db.home.folder / "scratch-x" / "output").mkdir(parents=True)
    restore(queue_db.home, file, replacing=False)
    assert list(queue_db.home.folder.glob("scratch-*")) == []


def test_restore_keeps_the_log_id_of_the_same_home_and_changes_that_of_a_copy(
    queue_db: QueueDatabase, file: Path, tmp_path: Path
):
    queue_db.run()
    name = queue_db.log.id()
    back_up(queue_db.store, file, replacing=False)
    restore(queue_db.home, file, replacing=True)
    assert queue_db.log.id() == name
    restore(Home(tmp_path / "other"), file, replacing=False)
    with QueueDatabase(tmp_path / "other") as other:
        assert other.log.id() != name


def test_open_connection_reads_restored_tasks(queue_db: QueueDatabase, file: Path):
    before = queue_db.run()
    back_up(queue_db.store, file, replacing=False)
    queue_db.run()
    restore(queue_db.home, file, replacing=True)
    assert queue_db.get(before).status == "completed"
    queue_db.run()


def test_restore_replaces_tasks_only_with_yes(queue_db: QueueDatabase, file: Path):
    id = queue_db.run()
    back_up(queue_db.store, file, replacing=False)
    with pytest.raises(MoveNotAllowed, match="--yes"):
        restore(queue_db.home, file, replacing=False)
    assert queue_db.get(id).status == "completed"


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, None])
def test_restore_of_an_invalid_file_is_refused_and_changes_nothing(
    queue_db: QueueDatabase, file: Path, content: bytes | None
):
    id = queue_db.run()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=file.name):
        restore(queue_db.home, file, replacing=True)
    assert queue_db.get(id).status == "completed"


def test_restore_refuses_the_database_of_another_program(queue_db: QueueDatabase, file: Path):
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE settings (name TEXT, value TEXT)")
    with pytest.raises(InvalidInput, match="no event log"):
        restore(queue_db.home, file, replacing=True)


def test_restore_is_refused_while_a_task_runs(queue_db: QueueDatabase, file: Path):
    back_up(queue_db.store, file, replacing=False)
    queue_db.start(queue_db.launch())
    with pytest.raises(MoveNotAllowed, match="1 task runs"):
        restore(queue_db.home, file, replacing=True)


HOLD = """
import sys
from pathlib import Path
from backburner.ipc.machine.lock import Lock
assert Lock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("role", ["supervisor", "flusher", "forkserver"])
def test_restore_and_salvage_are_refused_while_a_role_runs(queue_db: QueueDatabase, file: Path, role: str):
    back_up(queue_db.store, file, replacing=False)
    command = [sys.executable, "-c", HOLD, str(queue_db.home.lock(role))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"{role}.*{other.pid}"):
            restore(queue_db.home, file, replacing=True)
        with pytest.raises(AlreadyRunning, match=f"{role}.*{other.pid}"):
            salvage(queue_db.home)
        other.communicate(b"")


# damage


@pytest.fixture
def full(home: Path) -> Home:
    """Create a home whose database has many pages, and close it."""
    with QueueDatabase(home) as queue_db:
        for _ in range(300):
            queue_db.run(parent_session_id="p", description="x" * 300)
        queue_db.launch()
        queue_db.claim()
        queue_db.store.checkpoint()
    return Home(home)


def test_damaged_database_is_refused_and_not_changed(full: Home):
    overwrite(full.database, 1)
    before = full.database.read_bytes()
    with pytest.raises(Damaged, match=rf"{full.database} is damaged .*backburner salvage"):
        SqliteStore(full)
    assert full.database.read_bytes() == before


def test_empty_database_with_a_log_is_refused_as_damaged(home: Path):
    with QueueDatabase(home) as queue_db:
        queue_db.run()
        log = Path(f"{queue_db.home.database}-wal").read_bytes()
    os.truncate(home / "backburner.db", 0)
    (home / "backburner.db-wal").write_bytes(log)
    with pytest.raises(Damaged, match="salvage"):
        SqliteStore(Home(home))
    assert (home / "backburner.db-wal").read_bytes() == log


def test_undamaged_database_is_not_salvaged(full: Home):
    with pytest.raises(MoveNotAllowed, match="not damaged"):
        salvage(full)


def test_salvage_keeps_nearly_all_rows_of_a_database_with_a_damaged_page(full: Home):
    pages = full.database.stat().st_size // PAGE
    overwrite(full.database, pages // 2)
    salvaged = salvage(full)
    assert salvaged.tasks + salvaged.events > 700
    assert salvaged.aside.exists()
    assert flaws_of(full.database) == []


def test_salvage_sets_a_database_without_a_header_aside(full: Home):
    overwrite(full.database, 1)
    before = full.database.read_bytes()
    salvaged = salvage(full)
    assert (salvaged.tasks, salvaged.unreadable, salvaged.aside.read_bytes()) == (0, True, before)


def test_salvage_counts_held_tasks_as_lost(home: Path):
    with QueueDatabase(home) as queue_db:
        queue_db.groups.limit("command", 1)
        ids = [queue_db.launch() for _ in range(4)]
        assert len(queue_db.queue.take(Slot("command", 0), queue_db.owner, 3)) == 3
        queue_db.store.checkpoint()
    overwrite(home / "backburner.db", page_of(home, "outbox"))
    assert salvage(Home(home)).lost == 3
    with QueueDatabase(home) as queue_db:
        assert [queue_db.get(id).error_kind for id in ids] == ["lost", "lost", "lost", None]


#: The ID of a task whose row is only in the write-ahead log.
ID = "bg-00000000-0000-4000-8000-000000000001"


def damage_with_log(home: Home) -> tuple[bytes, bytes]:
    """Damage the database of a home, with a log that was not checkpointed; return the contents of both files."""
    path = Path(f"{home.database}-wal")
    with QueueDatabase(home.folder) as queue_db:
        queue_db.launch(id=ID, description="only in the log")
        database, log = home.database.read_bytes(), path.read_bytes()
    home.database.write_bytes(database)
    path.write_bytes(log)
    overwrite(home.database, len(database) // PAGE // 2)
    return home.database.read_bytes(), log


def kill_salvage(home: Home, watch: Path, where: str) -> int:
    """Run `salvage` in a process that kills itself at a failpoint; return its exit code."""
    watch.mkdir()
    (watch / "order").write_text(json.dumps({"token": "t", "kill": f"command {where}", "nth": 1}))
    command = [sys.executable, "-m", "backburner", "--home", str(home.folder), "salvage"]
    return subprocess.run(command, env={**os.environ, WATCH: str(watch)}, cwd=ROOT, check=False).returncode


@pytest.mark.parametrize(
    "where",
    [
        "salvage.link@salvage<salvage before",
        "salvage.link@salvage<salvage after",
        "salvage.rename@salvage<salvage after",
        "backup.rename@salvage before",
        "backup.rename@salvage after",
    ],
)
def test_killed_salvage_loses_nothing_and_can_be_repeated(full: Home, tmp_path: Path, where: str):
    damaged, log = damage_with_log(full)
    assert kill_salvage(full, tmp_path / "watch", where) == -signal.SIGKILL
    assert damaged in [path.read_bytes() for path in full.folder.glob("*.db")]
    assert log in [path.read_bytes() for path in full.folder.glob("*.db-wal")]
    if full.database.read_bytes() == damaged:
        salvage(full)
    with QueueDatabase(full.folder) as queue_db:
        assert queue_db.queue.get(ID).description == "only in the log"


def test_salvaged_home_works_and_repeats_no_number(full: Home):
    with QueueDatabase(full.folder) as queue_db:
        last = queue_db.log.last_seq()
    overwrite(full.database, page_of(full.folder, "outbox"))
    salvage(full)
    with QueueDatabase(full.folder) as queue_db:
        assert queue_db.log.last_seq() > last + JUMP // 2
        assert not any(group.running for group in queue_db.groups.all())
        queue_db.run()


def test_salvage_replaces_a_file_that_is_no_database(home: Path):
    Home(home).prepare()
    (home / "backburner.db").write_bytes(b"garbage" * 4000)
    salvaged = salvage(Home(home))
    assert (salvaged.tasks, salvaged.aside.read_bytes()[:7]) == (0, b"garbage")
    with QueueDatabase(home) as queue_db:
        queue_db.run()


def test_salvage_is_refused_while_a_process_has_the_database_open(full: Home):
    with open(full.database, "rb") as file:
        child = subprocess.Popen(["sleep", "60"], stdin=file)
    overwrite(full.database, 1)
    try:
        with pytest.raises(MoveNotAllowed, match=str(child.pid)):
            salvage(full)
    finally:
        child.kill()
        child.wait()


# inspection


def file_stats(folder: Path) -> set[tuple[str, int, int, int]]:
    found = [(path.name, path.stat()) for path in folder.rglob("*")]
    return {(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found}


def test_inspection_writes_nothing(full: Home):
    before = file_stats(full.folder)
    database = Inspection(full)
    assert database.flaws() == []
    assert database.events.last_seq() > 0
    database.close()
    assert file_stats(full.folder) == before


# a recreated home


def test_connection_opens_the_database_of_a_recreated_home(home: Path):
    with QueueDatabase(home) as old:
        old.run()
        shutil.rmtree(home)
        home.mkdir(0o700)
        with QueueDatabase(home) as new:
            id = new.run()
            assert old.get(id).status == "completed"
            assert flaws_of(home / "backburner.db") == []
