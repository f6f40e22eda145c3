"""A home's database as one file that can be put away, put back, and saved from where it was damaged."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ... import clock
from ...config.settings import DEFAULT_BACKGROUND_CONFIG
from ...errors import AlreadyRunning, Damaged, HeldByWorker, InvalidInput, MoveNotAllowed, Permanent, Temporary
from ...failpoints import failpoint
from ...home import Home
from ...machine.lock import Lock
from ...machine.presence import Presence
from ...model.claim import Attempted, Rescued, Settlement
from ...model.task import TaskStatus
from ..groups import taking_one_at_a_time, wait_until_published
from ..processes import ProcessTable
from ..queue import Queue
from ..tasks import Filter, Tasks
from .database import Copy, Database, Wreck, flaws_of
from .graft import graft
from .wal import openers
from .write_gate import Gate

#: The roles that enter themselves in the registry.
ROLES = ("supervisor", "flusher", "worker")

#: How the names of folders begin in which a database is put together.
SCRATCH = "mending-"


@dataclass(frozen=True)
class Salvaged:
    """What was saved of a damaged database, and where the damaged one is now."""

    tasks: int
    events: int
    lost: int
    aside: Path


# putting away


def back_up(database: Database, file: Path, replacing: bool) -> int:
    """Copy a home's database, as it is now, into a file, which is checked before it gets its name; its bytes.

    Nobody has to wait meanwhile. Raises InvalidInput where the file exists and may not be replaced, Permanent, and
    Temporary.
    """
    _refuse_own(database.home, file)
    if os.path.lexists(file) and not replacing:
        raise InvalidInput(f"{file} exists; to replace it: backburner backup --force {file}", field="FILE")
    with _beside(file) as draft:
        with taking_one_at_a_time(database):
            with suppress(HeldByWorker):  # held tasks are copied as they are then, and a restore finds them lost
                wait_until_published(database, None)
            database.copy_to(draft)
        _check(draft, Permanent)
        _put(draft, file)
    return file.stat().st_size


def _refuse_own(home: Home, file: Path) -> None:
    own = [home.database, *_beside_database(home)]
    if any(file.exists() and path.exists() and file.samefile(path) for path in own):
        raise InvalidInput(f"{file} is the database itself.", field="FILE")


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """An empty file, private, in the same folder; gone afterwards if it was not renamed."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise _failed(file, error) from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        for left in (name, f"{name}-journal", f"{name}-wal", f"{name}-shm"):
            with failpoint("backup.draft.unlink"):
                Path(left).unlink(missing_ok=True)


def _check(file: Path, kind: type[Permanent]) -> None:
    flaws = flaws_of(file)
    if flaws:
        raise kind(f"{file} is damaged ({flaws[0]}).")


def _put(draft: Path, file: Path) -> None:
    """Give a finished file its name, so that it outlives a power loss."""
    try:
        _sync(draft)
        with failpoint("backup.rename"):
            os.replace(draft, file)
        _sync(file.parent)
    except OSError as error:
        raise _failed(file, error) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(file: Path, error: OSError) -> Permanent | Temporary:
    kind = Permanent if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError) else Temporary
    return kind(f"{file} cannot be written: {error.strerror}.")


# putting back


def restore(home: Home, file: Path, replacing: bool) -> int:
    """Have a home hold what a backup holds; how many tasks were running in it: they are `error` (`lost`).

    No number of an event or a claim is given again that the backup or the home ever gave. All or nothing. Raises
    InvalidInput for what is no backup, AlreadyRunning and MoveNotAllowed while anything of the home runs, or while
    it has tasks that may not be replaced, Temporary.
    """
    if not file.is_file():
        raise InvalidInput(f"{file} is not there, or is no file.", field="FILE")
    _refuse_other(file)
    with _quiet(home), _scratch(home) as scratch, ExitStack() as closing:
        _copy(file, scratch.database)
        copy = Copy(scratch)
        closing.callback(copy.close)
        database = Database(home)
        closing.callback(database.close)
        _refuse_used(database, replacing)
        copy.outrun(database)  # before the lost are told of, under numbers that the home may have given since
        lost = _settle_lost(copy, "It was running when this backup was made.")
        database.become(copy)
        database.checkpoint()
    return lost


def _refuse_other(file: Path) -> None:
    """Raise InvalidInput for what is not a sound database of a home."""
    wreck = Wreck(file)
    try:
        flaws = wreck.flaws()
        if not flaws and not any(row["name"] == "log" for row in wreck.rows("settings")):
            flaws = ["it has no event log"]
    finally:
        wreck.close()
    if flaws:
        raise InvalidInput(f"{file} is no backup, or is damaged ({flaws[0]}).", field="FILE")


def _copy(file: Path, to: Path) -> None:
    try:
        with failpoint("restore.copy"):
            shutil.copyfile(file, to)
        to.chmod(0o600)
    except OSError as error:
        raise _failed(to, error) from error


def _refuse_used(database: Database, replacing: bool) -> None:
    running = [one.id for one in ProcessTable(database).running() if one.agent != "external"]
    if running:
        raise MoveNotAllowed(
            f"{len(running)} tasks run in {database.home.folder}; see: backburner list --status running"
        )
    if not replacing and Tasks(database, DEFAULT_BACKGROUND_CONFIG).list(Filter(limit=1)).tasks:
        raise MoveNotAllowed(
            f"There are tasks in {database.home.folder}; to replace them: backburner restore --yes FILE"
        )


@contextmanager
def _quiet(home: Home) -> Iterator[None]:
    """Keep supervisors out of a home in which none runs. Raises AlreadyRunning."""
    home.prepare()
    presence = Presence(home)
    for role in ("supervisor", "flusher", "forkserver"):
        pid = presence.holder(role)
        if pid is not None:
            raise AlreadyRunning(f"The {role} of {home.folder} (pid {pid}) runs; first: backburner down")
    lock = Lock(home.lock("supervisor"))
    if not lock.acquire():
        raise AlreadyRunning(f"A supervisor runs for {home.folder}; first: backburner down")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(home: Home) -> Iterator[Home]:
    """A home for one database, in which nothing ever runs. One that was left by a killed process goes."""
    for left in home.folder.glob(f"{SCRATCH}*"):
        with failpoint("scratch.remove"):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=home.folder) as folder:
        yield Home(Path(folder))


def _settle_lost(database: Database, why: str) -> int:
    """Have nothing run and nobody live; how many tasks ran."""
    registry, queue = ProcessTable(database), Queue(database, DEFAULT_BACKGROUND_CONFIG)
    running = registry.running()
    held = queue.all_held()
    queue.rescue([_lost(one, why, None) for one in running] + [_lost(one, why, one.group) for one in held])
    for process in [process for role in ROLES for process in registry.processes(role)]:
        registry.leave(process.number)
    return len(running) + len(held)


def _lost(one: Attempted, why: str, group: str | None) -> Rescued:
    end = Settlement(number=one.number, claim=one.claim, status=TaskStatus.ERROR, error=why, error_kind="lost")
    return Rescued(one.number, one.claim, end, group, clock.now())


# saving


def salvage(home: Home) -> Salvaged:
    """Set a damaged database aside and put a fresh one, with all that can be read, in its place.

    Raises MoveNotAllowed where it is sound or somebody has it open, AlreadyRunning, Temporary.
    """
    with _quiet(home), Gate.of(home.lock("gate")), _scratch(home) as scratch:
        _refuse_open(home)
        _take_back(home)
        counts, lost = _save(home, scratch)
        aside = _set_aside(home)
        _put(scratch.database, home.database)
    return Salvaged(counts["tasks"], counts["events"], lost, aside)


def _refuse_open(home: Home) -> None:
    found = openers([home.database, *_beside_database(home)])
    if found:
        raise MoveNotAllowed(f"{home.database} is open in process {', '.join(map(str, found))}; end it first.")


def _take_back(home: Home) -> None:
    """What a salvage had set aside that was killed before it was done: nothing stands in its place yet."""
    for aside in home.folder.glob("damaged-*.db"):
        if aside.samefile(home.database):
            for path in _beside_database(home):
                _take_log_back(_aside_of(home, aside, path), path)
            with failpoint("salvage.unlink"):
                aside.unlink()


def _take_log_back(aside: Path, path: Path) -> None:
    with suppress(FileNotFoundError), failpoint("salvage.rename-back"):
        aside.rename(path)


def _save(home: Home, scratch: Home) -> tuple[dict[str, int], int]:
    wreck = _wreck(home, scratch)
    fresh = Database(scratch)
    try:
        counts = fresh.take_in(wreck)
        lost = _settle_lost(fresh, "It was running when the database was damaged.")
        fresh.checkpoint()
    finally:
        wreck.close()
        fresh.close()
    _check(scratch.database, Damaged)
    return counts, lost + counts["given_up"]


def _wreck(home: Home, scratch: Home) -> Wreck:
    """The damaged database; where not even its tables are known, a copy of it that has been told."""
    wreck = Wreck(home.database)
    if not wreck.flaws():
        raise MoveNotAllowed(f"{home.database} is sound; there is nothing to salvage.")
    if wreck.has_tables():
        return wreck
    wreck.close()
    sound = Home(scratch.folder / "sound").prepare()
    Database(sound).close()
    grafted = scratch.folder / "grafted.db"
    graft(home.database, sound.database, grafted)
    return Wreck(grafted)


def _set_aside(home: Home) -> Path:
    """Give the damaged file and its log another name too, then take the log away: a fresh file must not find it."""
    aside = home.folder / f"damaged-{clock.now()}.db"
    with failpoint("salvage.link"):
        os.link(home.database, aside)
    for path in _beside_database(home):
        with suppress(FileNotFoundError), failpoint("salvage.rename"):
            path.rename(_aside_of(home, aside, path))
    _sync(home.folder)
    return aside


def _aside_of(home: Home, aside: Path, path: Path) -> Path:
    """The name of what lies beside a database that was set aside."""
    return Path(f"{aside}{path.name.removeprefix(home.database.name)}")


def _beside_database(home: Home) -> list[Path]:
    return [Path(f"{home.database}{end}") for end in ("-wal", "-shm")]
