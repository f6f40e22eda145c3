"""The store of tasks and events: the interface of an engine, the code that all engines share, and `open_store`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from ..config.settings import BackgroundConfig
    from ..home import Home
    from .interface import Store
    from .sqlite.file.salvage import Salvaged

#: Seconds that a process waits for the write lock, by role. Other roles have a longer default. A hook has little time,
#: because a coding agent waits for it.
GATE_TIMEOUTS = {"hook": 0.5}

#: Modules that take long to import, and that a process needs only when it opens a store.
SLOW_MODULES = ("ipc.store.sqlite.file.migrations",)


def open_store(home: Home, config: BackgroundConfig | None, role: str) -> Store:
    """Open the store of a home for a process of a role ("command", "worker", ...), creating or migrating it if needed.

    A role that reads the applied configuration from the store opens it with None and sets `Store.durability` later.
    Until then, changes may not survive a power loss. Raises NewerSchema, OlderProcesses, Permanent, Temporary.
    """
    from .sqlite.file.write_gate import WriteGate
    from .sqlite.store import SqliteStore

    if role in GATE_TIMEOUTS:
        WriteGate.of(home.lock("gate")).timeout = GATE_TIMEOUTS[role]
    return SqliteStore(home, "normal" if config is None else config.durability)


def open_reading(home: Home) -> Store:
    """Open the existing store of a home to read it. Nothing is created, migrated or written.

    Raises NotFound if nothing was ever launched there, and otherwise like `open_store`.
    """
    from .sqlite.file.inspection import Inspection

    if not home.database.exists():
        raise NotFound(f"There are no tasks in {home.folder}.")
    store = Inspection(home)
    try:
        store.refuse_other_schemas()
    except BaseException:
        store.close()
        raise
    return store


def preload_statements() -> None:
    """Read all statements of the store, so that neither this process nor a fork of it reads them later."""
    from .sqlite.sql import load_all_statements

    load_all_statements()


def engine_version() -> str:
    """Return the version of SQLite."""
    from .sqlite.file.database import sqlite_version

    return sqlite_version()


def refuse_older_processes(home: Home) -> None:
    """Raise OlderProcesses if processes of an older release run in a home."""
    if home.database.exists():
        from .sqlite.file.inspection import refuse_older_processes

        refuse_older_processes(home)


def back_up(store: Store, file: Path, replacing: bool) -> int:
    """Copy the store to a file and return the size of the file in bytes. See `sqlite.file.backup`."""
    from .sqlite.file import backup
    from .sqlite.store import SqliteStore

    assert isinstance(store, SqliteStore), "only SQLite is backed up to a file"
    return backup.back_up(store, file, replacing)


def restore(home: Home, file: Path, replacing: bool) -> int:
    """Replace a home's store with a backup. Return the number of tasks that were running in it.

    See `sqlite.file.backup`.
    """
    from .sqlite.file import backup

    return backup.restore(home, file, replacing)


def salvage(home: Home) -> Salvaged:
    """Replace a damaged store with a new one that has all readable rows. See `sqlite.file.salvage`."""
    from .sqlite.file import salvage

    return salvage.salvage(home)
