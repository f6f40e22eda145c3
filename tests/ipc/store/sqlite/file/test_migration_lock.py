"""A home of an older release is migrated completely, and only once its processes have ended."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.errors import OlderProcesses, Temporary
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import Lock, holder
from backburner.ipc.store.sqlite.file.backup import restore
from backburner.ipc.store.sqlite.file.database import SCHEMA
from backburner.ipc.store.sqlite.file.inspection import Inspection, refuse_older_processes
from backburner.ipc.store.sqlite.file.migration_lock import FIRST_LIVE, migration_lock
from backburner.ipc.store.sqlite.store import SqliteStore
from tests.helpers.older import OLD_SCHEMA, contents, create_older_home, process, register, schema_of


@pytest.fixture
def older(home: Path) -> Home:
    """Create a home of release 0.1 in which no process runs."""
    found = Home(home)
    create_older_home(found)
    return found


def migrate(home: Home) -> None:
    SqliteStore(home).close()


def test_migration_keeps_everything_in_the_database(older: Home):
    before = contents(older)
    migrate(older)
    assert schema_of(older) == SCHEMA
    after = contents(older)
    assert {row["status"] for row in before["tasks"]} == {"pending", "running", "completed", "error", "cancelled"}
    assert all(before[name] for name in ("events", "outbox", "cursors", "dependencies", "outputs", "inputs"))
    before = {RENAMED.get(table, table): [renamed(row) for row in rows] for table, rows in before.items()}
    for table in before.keys() - {"_sqlite_migrations"}:
        added = kept(after[table], before[table]) - kept(before[table], after[table])
        assert not kept(before[table], after[table]) - kept(after[table], before[table]), table
        assert not added or table == "counters", table


#: Tables and columns of release 0.1, and their names now.
RENAMED = {
    "grp": "limit_group", "uniq": "unique_key", "most": "slot_limit", "over": "finished", "well": "succeeded",
    "heirs": "successors", "heir": "successor",
}  # fmt: skip


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of release 0.1 with the names that its columns have now."""
    return {RENAMED.get(name, name): value for name, value in row.items()}


def kept(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> Counter[str]:
    """Return the rows with the columns that the others have as well."""
    names = others[0].keys() if others else ()
    return Counter(repr({name: value for name, value in row.items() if name in names}) for row in rows)


RUNNING: dict[str, tuple[tuple[str, ...], str | None]] = {
    "supervisor": (("supervisor",), "supervisor"),
    "flusher": (("flusher",), None),
    "fork server": (("nursery",), None),
    "retired fork server": (("nursery-17",), None),
    "new fork server": (("forkserver",), None),
    "worker": ((), "worker"),
}


@pytest.mark.parametrize("name", RUNNING)
def test_migration_is_refused_while_an_older_process_runs(older: Home, name: str):
    locks, role = RUNNING[name]
    before = contents(older)
    with process(older, *locks) as pid:
        if role is not None:
            register(older, role, pid)
            before = contents(older)
        with pytest.raises(OlderProcesses, match=f"{name.removeprefix('retired ').removeprefix('new ')} {pid}"):
            migrate(older)
        with pytest.raises(OlderProcesses):
            refuse_older_processes(older)
    assert (schema_of(older), contents(older)) == (OLD_SCHEMA, before)
    migrate(older)
    assert schema_of(older) == SCHEMA


def test_refusal_names_the_command_that_stops_a_supervisor(older: Home):
    refused = pytest.raises(OlderProcesses, match=r"supervisor \d+, fork server \d+\. First: backburner down$")
    with process(older, "supervisor", "nursery"), refused:
        migrate(older)


def test_refusal_names_the_processes_that_a_supervisor_left(older: Home):
    with process(older, "nursery") as fork_server, process(older) as worker:
        register(older, "worker", worker)
        with pytest.raises(OlderProcesses, match=rf"First: kill {fork_server} {worker} "):
            migrate(older)


def test_starting_supervisor_delays_the_migration(older: Home):
    with process(older, "supervisor"), pytest.raises(Temporary, match="starting"):
        migrate(older)
    assert schema_of(older) == OLD_SCHEMA


@pytest.mark.parametrize("changes", [{"boot": "another"}, {"ticks": 1}, {"pidns": "another"}])
def test_registered_process_that_is_dead_is_ignored(older: Home, changes: dict[str, object]):
    register(older, "worker", os.getppid(), **changes)
    migrate(older)
    assert schema_of(older) == SCHEMA


def test_supervisor_cannot_start_during_a_migration(older: Home):
    with migration_lock(older, OLD_SCHEMA, list), pytest.raises(AssertionError), process(older, "supervisor"):
        pass
    with process(older, "supervisor"):
        pass


@pytest.fixture
def supervising(older: Home) -> Iterator[Home]:
    """Hold the supervisor lock of an old home in this process."""
    lock = Lock(older.lock("supervisor"))
    assert lock.acquire()
    yield older
    lock.release()


def test_supervisor_migrates_beside_processes_of_schema_six(supervising: Home):
    with process(supervising, "forkserver"), migration_lock(supervising, FIRST_LIVE, list):
        pass


def test_supervisor_does_not_migrate_beside_processes_before_schema_six(supervising: Home):
    with process(supervising, "forkserver") as pid, pytest.raises(OlderProcesses, match=f"fork server {pid}"):
        migrate(supervising)
    migrate(supervising)
    assert holder(supervising.lock("supervisor")) == os.getpid()


@pytest.mark.parametrize(
    ("locks", "remedy"), [(["forkserver"], "backburner up --detach"), (["supervisor", "flusher"], "backburner restart")]
)
def test_other_command_leaves_a_live_migration_to_the_supervisor(older: Home, locks: list[str], remedy: str):
    refused = pytest.raises(OlderProcesses, match=f"First: {remedy}")
    with process(older, *locks), refused, migration_lock(older, FIRST_LIVE, list):
        pass


def test_backup_of_a_home_with_older_processes_is_restored_elsewhere(older: Home, tmp_path: Path):
    with process(older) as pid:
        register(older, "worker", pid)
        backup = tmp_path / "saved.db"
        with closing(Inspection(older)) as found:
            found.copy_to(backup)
        assert restore(Home(tmp_path / "other").prepare(), backup, replacing=False) == 1
