"""With the durability `full`, commits are synced before they are reported, many by one sync."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backburner.ipc.errors import Temporary, Unsynced
from backburner.ipc.home import Home
from backburner.ipc.store.sqlite.file import group_commit as module
from backburner.ipc.store.sqlite.file.group_commit import GroupCommit
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
from backburner.ipc.store.sqlite.store import SqliteStore


@pytest.fixture
def opened(home: Path):
    database = SqliteStore(Home(home).prepare(), "full")
    write(database)
    database.sync()
    yield database
    database.close()


@pytest.fixture
def syncs(monkeypatch) -> list[int]:
    """Return a list of the sizes of the synced files."""
    found: list[int] = []
    sync = module.sync_data

    def counted(descriptor: int) -> None:
        sync(descriptor)
        found.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(module, "sync_data", counted)
    return found


def write(database: SqliteStore, durable: bool = False) -> None:
    with database.write(durable) as transaction:
        transaction.run("set_setting", {"name": "x", "value": os.urandom(8).hex()})


def read(database: SqliteStore) -> None:
    with database.read() as transaction:
        transaction.setting("x")


def test_one_reader_syncs_for_all_earlier_commits(opened, syncs):
    other = SqliteStore(opened.home, "full")
    for database in (opened, other, opened):
        write(database)
    assert syncs == []
    read(other)
    assert syncs == [opened.wal_bytes()]
    read(opened)
    read(other)
    assert len(syncs) == 1
    other.close()


def test_durable_write_is_synced(opened, syncs):
    write(opened, durable=True)
    assert len(syncs) == 1


def test_normal_durability_never_syncs(opened, syncs):
    opened.durability = "normal"
    write(opened, durable=True)
    read(opened)
    assert syncs == []


def test_commit_during_a_sync_needs_another_sync(opened, syncs, monkeypatch):
    meanwhile: list[Callable[[], None]] = [lambda: write(opened)]
    sync = module.sync_data

    def slow(descriptor: int) -> None:
        sync(descriptor)
        if meanwhile:
            meanwhile.pop()()

    monkeypatch.setattr(module, "sync_data", slow)
    write(opened)
    read(opened)
    assert len(syncs) == 1
    read(opened)
    assert len(syncs) == 2


def test_transaction_without_a_recorded_end_is_synced(opened, syncs):
    """The writer was killed between the commit and the record of its end."""
    opened._commits.start()
    read(opened)
    assert len(syncs) == 1
    write(opened)
    read(opened)
    read(opened)
    assert len(syncs) == 2


def test_rolled_back_transaction_is_synced_at_most_once(opened, syncs):
    with pytest.raises(ZeroDivisionError), opened.write():
        _ = 1 / 0
    read(opened)
    read(opened)
    assert len(syncs) == 1


def test_transaction_that_cannot_begin_is_counted_as_finished(opened, syncs):
    opened._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(opened.home.database, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(Temporary, match="locked"):
            write(opened)
        stranger.execute("ROLLBACK")
    for _ in range(3):
        read(opened)
    assert len(syncs) == 1
    write(opened)


def test_failed_sync_raises_unsynced_and_is_repeated(opened, monkeypatch):
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync_data", fail)
        with pytest.raises(Unsynced, match="may not survive a power loss"):
            write(opened, durable=True)
        with pytest.raises(Unsynced):
            read(opened)
    read(opened)


def test_lost_counters_cost_one_sync(tmp_path, syncs):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 5)
    counted = GroupCommit(tmp_path / "commits", str(log), WriteGate.of(tmp_path / "sync.lock"))
    counted.finish(counted.start())
    os.truncate(tmp_path / "commits", 0)
    counted.sync()
    assert syncs == [5]
    for _ in range(3):
        counted.sync()
    assert syncs == [5]
    counted.finish(counted.start())
    counted.sync()
    counted.sync()
    assert syncs == [5, 5]
    counted.close()


def test_counters_file_is_private(opened):
    assert stat.S_IMODE((opened.home.folder / "commits").stat().st_mode) == 0o600


def test_transaction_is_refused_if_it_cannot_be_counted(home):
    prepared = Home(home).prepare()
    (home / "commits").mkdir()
    with closing(SqliteStore(prepared, "full")) as database:
        for call in (write, read):
            with pytest.raises(Temporary, match=str(home)):
                call(database)
