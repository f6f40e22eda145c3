"""GroupCommit under `full`: synced before they are told, and once for many."""

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
    """The sizes of the files that were synced since."""
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


def tell(database: SqliteStore) -> None:
    with database.read() as transaction:
        transaction.setting("x")


def test_who_tells_syncs_once_for_all_that_was_committed_before(opened, syncs):
    other = SqliteStore(opened.home, "full")
    for database in (opened, other, opened):
        write(database)
    assert syncs == []
    tell(other)
    assert syncs == [opened.wal_bytes()]
    tell(opened)
    tell(other)
    assert len(syncs) == 1
    other.close()


def test_what_is_answered_is_synced_first(opened, syncs):
    write(opened, durable=True)
    assert len(syncs) == 1


def test_normal_durability_never_syncs(opened, syncs):
    opened.durability = "normal"
    write(opened, durable=True)
    tell(opened)
    assert syncs == []


def test_a_sync_does_not_vouch_for_what_was_committed_while_it_ran(opened, syncs, monkeypatch):
    meanwhile: list[Callable[[], None]] = [lambda: write(opened)]
    sync = module.sync_data

    def slow(descriptor: int) -> None:
        sync(descriptor)
        if meanwhile:
            meanwhile.pop()()

    monkeypatch.setattr(module, "sync_data", slow)
    write(opened)
    tell(opened)
    assert len(syncs) == 1
    tell(opened)
    assert len(syncs) == 2


def test_a_commit_that_is_seen_before_it_is_counted_is_synced_all_the_same(opened, syncs):
    """Its writer was killed between the commit and the count."""
    opened._commits.start()
    tell(opened)
    assert len(syncs) == 1
    write(opened)
    tell(opened)
    tell(opened)
    assert len(syncs) == 2


def test_what_was_rolled_back_is_synced_once_and_no_more(opened, syncs):
    with pytest.raises(ZeroDivisionError), opened.write():
        _ = 1 / 0
    tell(opened)
    tell(opened)
    assert len(syncs) == 1


def test_transaction_that_cannot_begin_is_counted_as_over(opened, syncs):
    opened._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(opened.home.database, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(Temporary, match="locked"):
            write(opened)
        stranger.execute("ROLLBACK")
    for _ in range(3):
        tell(opened)
    assert len(syncs) == 1
    write(opened)


def test_a_failed_sync_is_said_to_leave_the_state_unknown_and_is_tried_again(opened, monkeypatch):
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync_data", fail)
        with pytest.raises(Unsynced, match="may not outlive a power loss"):
            write(opened, durable=True)
        with pytest.raises(Unsynced):
            tell(opened)
    tell(opened)


def test_numbers_that_are_lost_cost_a_sync_and_nothing_else(tmp_path, syncs):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 5)
    counted = GroupCommit(tmp_path / "commits", str(log), WriteGate.of(tmp_path / "sync.lock"))
    counted.end(counted.begin())
    os.truncate(tmp_path / "commits", 0)
    counted.sync()
    assert syncs == [5]
    for _ in range(3):
        counted.sync()
    assert syncs == [5]
    counted.end(counted.begin())
    counted.sync()
    counted.sync()
    assert syncs == [5, 5]
    counted.close()


def test_the_numbers_are_for_their_owner_alone(opened):
    assert stat.S_IMODE((opened.home.folder / "commits").stat().st_mode) == 0o600


def test_where_nothing_can_be_counted_nothing_is_promised(home):
    prepared = Home(home).prepare()
    (home / "commits").mkdir()
    with closing(SqliteStore(prepared, "full")) as database:
        for promise in (write, tell):
            with pytest.raises(Temporary, match=str(home)):
                promise(database)
