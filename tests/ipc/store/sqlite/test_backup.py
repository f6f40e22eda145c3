"""A backup is whole, a restore repeats no number, and of a damaged database all is saved that can be read."""

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
    """Put rubbish in the place of some pages of a database that nobody has open."""
    rubbish = random.Random(7)
    with open(path, "r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE)
            file.write(rubbish.randbytes(PAGE))


# backup


def test_a_backup_is_private_sound_and_one_file(queue_db: QueueDatabase, file: Path):
    queue_db.run()
    size = back_up(queue_db.database, file, replacing=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == size
    assert flaws_of(file) == []
    assert list(file.parent.iterdir()) == [file]


def test_a_backup_replaces_nothing_unasked(queue_db: QueueDatabase, file: Path):
    file.write_text("mine")
    with pytest.raises(InvalidInput, match="--force"):
        back_up(queue_db.database, file, replacing=False)
    assert file.read_text() == "mine"
    back_up(queue_db.database, file, replacing=True)
    assert flaws_of(file) == []


def test_a_backup_never_replaces_the_database_itself(queue_db: QueueDatabase):
    with pytest.raises(InvalidInput, match="the database itself"):
        back_up(queue_db.database, queue_db.home.database, replacing=True)


def test_a_backup_that_cannot_be_written_says_so_and_leaves_nothing(queue_db: QueueDatabase, tmp_path: Path):
    with pytest.raises(Permanent, match="nowhere"):
        back_up(queue_db.database, tmp_path / "nowhere" / "file", replacing=False)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_of_one_moment_while_others_write(queue_db: QueueDatabase, file: Path):
    """Each task is launched with its successor: a copy that is torn has an odd number."""
    over = threading.Event()

    def launch() -> None:
        with QueueDatabase(queue_db.home.folder) as other:
            wanted = [LaunchInput(command=("true",)) for _ in range(2)]
            while not over.is_set():
                other.queue.launch_many(wanted)

    writer = threading.Thread(target=launch)
    writer.start()
    try:
        for _ in range(5):
            back_up(queue_db.database, file, replacing=True)
            assert flaws_of(file) == []
            assert _count(file) % 2 == 0
    finally:
        over.set()
        writer.join()


def _count(file: Path) -> int:
    wreck = DamagedDatabase(file)
    try:
        return len(wreck.rows("tasks"))
    finally:
        wreck.close()


# restore


def test_a_restored_home_has_what_it_had_and_nothing_runs(queue_db: QueueDatabase, file: Path, tmp_path: Path):
    ended, waiting, running = (
        queue_db.run(),
        queue_db.launch(parent_session_id="p"),
        queue_db.launch(priority=1, parent_session_id="p"),
    )
    queue_db.start(running)
    back_up(queue_db.database, file, replacing=False)
    assert restore(Home(tmp_path / "other"), file, replacing=False) == 1
    with QueueDatabase(tmp_path / "other") as other:
        assert [other.get(id).status for id in (ended, waiting, running)] == ["completed", "pending", "error"]
        assert other.get(running).error_kind == "lost"
        assert other.event_types("p")[-1] == "background_task_completed"
        assert other.groups.all()[0].running == 0


def test_a_restore_repeats_no_number_however_often(queue_db: QueueDatabase, file: Path):
    id = queue_db.launch()
    queue_db.launch()
    claimed = queue_db.start(id)
    back_up(queue_db.database, file, replacing=False)
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


def test_what_a_restore_tells_of_the_lost_has_a_number_that_was_never_given(queue_db: QueueDatabase, file: Path):
    running = queue_db.start(queue_db.launch())
    back_up(queue_db.database, file, replacing=False)
    queue_db.settle(running)
    seq = queue_db.log.last_seq()
    assert restore(queue_db.home, file, replacing=True) == 1
    assert [line.type for line in queue_db.log.read(None, seq + JUMP, 10)] == ["background_task_completed"]


def test_a_restore_clears_away_what_a_killed_one_left(queue_db: QueueDatabase, file: Path):
    back_up(queue_db.database, file, replacing=False)
    (queue_db.home.folder / "scratch-x" / "output").mkdir(parents=True)
    restore(queue_db.home, file, replacing=False)
    assert list(queue_db.home.folder.glob("scratch-*")) == []


def test_a_log_that_goes_on_keeps_its_name_and_a_copy_gets_another(queue_db: QueueDatabase, file: Path, tmp_path: Path):
    queue_db.run()
    name = queue_db.log.id()
    back_up(queue_db.database, file, replacing=False)
    restore(queue_db.home, file, replacing=True)
    assert queue_db.log.id() == name
    restore(Home(tmp_path / "other"), file, replacing=False)
    with QueueDatabase(tmp_path / "other") as other:
        assert other.log.id() != name


def test_a_connection_that_was_open_sees_what_was_restored(queue_db: QueueDatabase, file: Path):
    before = queue_db.run()
    back_up(queue_db.database, file, replacing=False)
    queue_db.run()
    restore(queue_db.home, file, replacing=True)
    assert queue_db.get(before).status == "completed"
    queue_db.run()


def test_tasks_are_not_replaced_unasked(queue_db: QueueDatabase, file: Path):
    id = queue_db.run()
    back_up(queue_db.database, file, replacing=False)
    with pytest.raises(MoveNotAllowed, match="--yes"):
        restore(queue_db.home, file, replacing=False)
    assert queue_db.get(id).status == "completed"


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, None])
def test_what_is_no_backup_is_refused_and_changes_nothing(queue_db: QueueDatabase, file: Path, content: bytes | None):
    id = queue_db.run()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidInput, match=file.name):
        restore(queue_db.home, file, replacing=True)
    assert queue_db.get(id).status == "completed"


def test_another_programs_database_is_no_backup(queue_db: QueueDatabase, file: Path):
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE settings (name TEXT, value TEXT)")
    with pytest.raises(InvalidInput, match="no event log"):
        restore(queue_db.home, file, replacing=True)


def test_nothing_is_restored_under_a_task_that_runs(queue_db: QueueDatabase, file: Path):
    back_up(queue_db.database, file, replacing=False)
    queue_db.start(queue_db.launch())
    with pytest.raises(MoveNotAllowed, match="1 tasks run"):
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
def test_neither_restore_nor_salvage_works_under_a_living_role(queue_db: QueueDatabase, file: Path, role: str):
    back_up(queue_db.database, file, replacing=False)
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
    """A closed home of many pages."""
    with QueueDatabase(home) as queue_db:
        for _ in range(300):
            queue_db.run(parent_session_id="p", description="x" * 300)
        queue_db.launch()
        queue_db.claim()
        queue_db.database.checkpoint()
    return Home(home)


def test_damage_is_recognised_and_the_file_left_alone(full: Home):
    overwrite(full.database, 1)
    before = full.database.read_bytes()
    with pytest.raises(Damaged, match=rf"{full.database} is damaged .*backburner salvage"):
        SqliteStore(full)
    assert full.database.read_bytes() == before


def test_an_emptied_file_beside_its_log_is_no_new_database(home: Path):
    with QueueDatabase(home) as queue_db:
        queue_db.run()
        log = Path(f"{queue_db.home.database}-wal").read_bytes()
    os.truncate(home / "backburner.db", 0)
    (home / "backburner.db-wal").write_bytes(log)
    with pytest.raises(Damaged, match="salvage"):
        SqliteStore(Home(home))
    assert (home / "backburner.db-wal").read_bytes() == log


def test_a_sound_database_is_not_salvaged(full: Home):
    with pytest.raises(MoveNotAllowed, match="sound"):
        salvage(full)


def test_nearly_all_is_saved_of_a_database_with_a_bad_page(full: Home):
    pages = full.database.stat().st_size // PAGE
    overwrite(full.database, pages // 2)
    saved = salvage(full)
    assert saved.tasks + saved.events > 700
    assert saved.aside.exists()
    assert flaws_of(full.database) == []


def test_salvage_keeps_a_database_whose_header_is_lost(full: Home):
    overwrite(full.database, 1)
    before = full.database.read_bytes()
    saved = salvage(full)
    assert (saved.tasks, saved.unreadable, saved.aside.read_bytes()) == (0, True, before)


def test_salvage_counts_held_tasks_as_lost(home: Path):
    with QueueDatabase(home) as queue_db:
        queue_db.groups.limit("command", 1)
        ids = [queue_db.launch() for _ in range(4)]
        assert len(queue_db.queue.take(Slot("command", 0), queue_db.owner, 3)) == 3
        queue_db.database.checkpoint()
    overwrite(home / "backburner.db", page_of(home, "outbox"))
    assert salvage(Home(home)).lost == 3
    with QueueDatabase(home) as queue_db:
        assert [queue_db.get(id).error_kind for id in ids] == ["lost", "lost", "lost", None]


#: Of a task whose row was not copied from the log into the database yet.
ID = "bg-00000000-0000-4000-8000-000000000001"


def damaged_beside_its_log(home: Home) -> tuple[bytes, bytes]:
    """A home whose processes died before the log was copied; both files."""
    path = Path(f"{home.database}-wal")
    with QueueDatabase(home.folder) as queue_db:
        queue_db.launch(id=ID, description="only in the log")
        database, log = home.database.read_bytes(), path.read_bytes()
    home.database.write_bytes(database)
    path.write_bytes(log)
    overwrite(home.database, len(database) // PAGE // 2)
    return home.database.read_bytes(), log


def salvage_and_die(home: Home, watch: Path, where: str) -> int:
    """`salvage` by a process that kills itself there; its exit code."""
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
def test_a_salvage_that_is_killed_loses_nothing_and_can_be_repeated(full: Home, tmp_path: Path, where: str):
    damaged, log = damaged_beside_its_log(full)
    assert salvage_and_die(full, tmp_path / "watch", where) == -signal.SIGKILL
    assert damaged in [path.read_bytes() for path in full.folder.glob("*.db")]
    assert log in [path.read_bytes() for path in full.folder.glob("*.db-wal")]
    if full.database.read_bytes() == damaged:
        salvage(full)
    with QueueDatabase(full.folder) as queue_db:
        assert queue_db.queue.get(ID).description == "only in the log"


def test_a_salvaged_home_works_and_repeats_no_number(full: Home):
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
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    saved = salvage(Home(home))
    assert (saved.tasks, saved.aside.read_bytes()[:7]) == (0, b"rubbish")
    with QueueDatabase(home) as queue_db:
        queue_db.run()


def test_a_damaged_database_that_somebody_has_open_is_left_alone(full: Home):
    with open(full.database, "rb") as file:
        child = subprocess.Popen(["sleep", "60"], stdin=file)
    overwrite(full.database, 1)
    try:
        with pytest.raises(MoveNotAllowed, match=str(child.pid)):
            salvage(full)
    finally:
        child.kill()
        child.wait()


# looking


def looks(folder: Path) -> set[tuple[str, int, int, int]]:
    found = [(path.name, path.stat()) for path in folder.rglob("*")]
    return {(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found}


def test_looking_writes_nothing(full: Home):
    before = looks(full.folder)
    database = Inspection(full)
    assert database.flaws() == []
    assert database.events.last_seq() > 0
    database.close()
    assert looks(full.folder) == before


# a home that was made anew


def test_a_connection_follows_a_home_that_was_made_anew(home: Path):
    with QueueDatabase(home) as old:
        old.run()
        shutil.rmtree(home)
        home.mkdir(0o700)
        with QueueDatabase(home) as new:
            id = new.run()
            assert old.get(id).status == "completed"
            assert flaws_of(home / "backburner.db") == []
