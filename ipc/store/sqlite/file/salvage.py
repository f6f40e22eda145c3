"""Salvage: replace a damaged database with a new one that has all readable rows."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from .... import clock
from ....errors import Damaged, MoveNotAllowed
from ....failpoints import failpoint
from ....home import Home, sync_path
from .backup import files_beside, put, refuse_damaged, scratch_home, settle_lost, without_supervisor
from .damaged import DamagedDatabase, SalvageDatabase
from .wal import openers
from .write_gate import WriteGate


@dataclass(frozen=True)
class Salvaged:
    """The result of a salvage: counts of rows, and the path of the damaged database."""

    tasks: int
    events: int
    lost: int
    aside: Path
    #: True if the list of tables was unreadable.
    unreadable: bool

    @property
    def further_step(self) -> str | None:
        """Return the message that names another tool that may find more rows, or None."""
        tool = f"SQLite's own tool may find more: sqlite3 {self.aside} .recover"
        return f"its tables cannot be listed; {tool}" if self.unreadable else None


def salvage(home: Home) -> Salvaged:
    """Set a damaged database aside and put a new one, with all readable rows, in its place.

    Raises:
        MoveNotAllowed: The database is undamaged, or a process has it open.
        AlreadyRunning: A supervisor runs.
        Temporary: The files cannot be read or written now.
    """
    with without_supervisor(home), WriteGate.of(home.lock("gate")), scratch_home(home) as scratch:
        _refuse_open(home)
        _undo_interrupted_salvage(home)
        unreadable = not _has_tables(home)
        counts, lost = _copy_readable_rows(home, scratch)
        aside = _set_aside(home)
        put(scratch.database, home.database)
    return Salvaged(counts["tasks"], counts["events"], lost, aside, unreadable)


def _refuse_open(home: Home) -> None:
    found = openers([home.database, *files_beside(home)])
    if found:
        raise MoveNotAllowed(
            f"{home.database} is open in process {', '.join(map(str, found))}; stop it: backburner down --now"
        )


def _undo_interrupted_salvage(home: Home) -> None:
    """Undo a salvage that was killed after it had set the database aside."""
    for aside in home.folder.glob("damaged-*.db"):
        if aside.samefile(home.database):
            for path in files_beside(home):
                _restore_log(_path_beside(home, aside, path), path)
            with failpoint("salvage.unlink"):
                aside.unlink()


def _restore_log(aside: Path, path: Path) -> None:
    with suppress(FileNotFoundError), failpoint("salvage.rename-back"):
        aside.rename(path)


def _copy_readable_rows(home: Home, scratch: Home) -> tuple[dict[str, int], int]:
    damaged = _open_damaged(home)
    fresh = SalvageDatabase(scratch)
    try:
        counts = fresh.import_damaged(damaged)
        lost = settle_lost(fresh, "It was running when the database was damaged.")
        fresh.checkpoint()
    finally:
        damaged.close()
        fresh.close()
    refuse_damaged(scratch.database, Damaged)
    return counts, lost + counts["given_up"]


def _open_damaged(home: Home) -> DamagedDatabase:
    damaged = DamagedDatabase(home.database)
    if not damaged.flaws():
        raise MoveNotAllowed(
            f"{home.database} is not damaged, so there is nothing to salvage; to check it: backburner doctor"
        )
    return damaged


def _has_tables(home: Home) -> bool:
    with closing(DamagedDatabase(home.database)) as damaged:
        return damaged.has_tables()


def _set_aside(home: Home) -> Path:
    """Link the damaged file to another name, and rename its write-ahead log.

    SQLite would apply a log that keeps its name to the new file.
    """
    aside = home.folder / f"damaged-{clock.now()}.db"
    with failpoint("salvage.link"):
        os.link(home.database, aside)
    for path in files_beside(home):
        with suppress(FileNotFoundError), failpoint("salvage.rename"):
            path.rename(_path_beside(home, aside, path))
    sync_path(home.folder)
    return aside


def _path_beside(home: Home, aside: Path, path: Path) -> Path:
    """Return the new path of a file beside the database (such as its log) when the database is set aside."""
    return Path(f"{aside}{path.name.removeprefix(home.database.name)}")
