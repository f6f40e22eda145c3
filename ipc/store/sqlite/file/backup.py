"""Back up a home's database to one file, and restore it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from .... import clock
from ....config.settings import DEFAULT_BACKGROUND_CONFIG
from ....errors import AlreadyRunning, HeldByWorker, InvalidInput, MoveNotAllowed, Permanent, Temporary
from ....failpoints import failpoint
from ....home import Home, sync_path
from ....machine.lock import Lock
from ....machine.presence import ROLES, Presence
from ....model.claim import Attempted, Rescued, Settlement
from ....model.query import Filter
from ....model.task import TaskStatus
from ....text.counts import count_of
from ...groups import taking_one_at_a_time, wait_until_published
from ...interface import Store
from ...processes import REGISTERED_ROLES
from ...queue import Queue
from ..store import SqliteStore
from .damaged import DamagedDatabase, flaws_of

#: The beginning of the names of temporary folders in which a database is prepared.
SCRATCH = "scratch-"


def back_up(store: SqliteStore, file: Path, replacing: bool) -> int:
    """Copy a home's database to a file, and return the size of the file in bytes.

    The copy is checked before it gets the name of the file. Writers do not wait.

    Raises:
        InvalidInput: The file exists and `replacing` is false, or it is the database itself.
        Permanent: The file cannot be written, or the database is damaged.
        Temporary: The file cannot be written now, or the database cannot be read now.
    """
    _refuse_special(store.home, file)
    if os.path.lexists(file) and not replacing:
        raise InvalidInput(f"{file} exists; to replace it: backburner backup --force {file}", field="FILE")
    with _draft_of(file) as draft:
        with taking_one_at_a_time(store):
            with suppress(HeldByWorker):  # a restore settles the held tasks of the copy as lost
                wait_until_published(store, None)
            store.copy_to(draft)
        refuse_damaged(draft, Permanent)
        put(draft, file)
    return file.stat().st_size


def _refuse_special(home: Home, file: Path) -> None:
    own = [home.database, *files_beside(home)]
    if any(file.exists() and path.exists() and file.samefile(path) for path in own):
        raise InvalidInput(f"{file} is the database itself.", field="FILE")
    if file.exists() and not file.is_file():  # a device such as /dev/null would be replaced for all programs
        raise InvalidInput(f"{file} is not a regular file.", field="FILE")


@contextmanager
def _draft_of(file: Path) -> Iterator[Path]:
    """Yield an empty private file in the same folder; delete it afterwards unless it was renamed."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    except OSError as error:
        raise _failed(file, error) from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        for path in (name, f"{name}-journal", f"{name}-wal", f"{name}-shm"):
            with failpoint("backup.draft.unlink"):
                Path(path).unlink(missing_ok=True)


def refuse_damaged(file: Path, kind: type[Permanent]) -> None:
    """Raise an error of the given kind if a database file is damaged."""
    flaws = flaws_of(file)
    if flaws:
        raise kind(f"{file} is damaged ({flaws[0]}).")


def put(draft: Path, file: Path) -> None:
    """Give a finished file its name, durably."""
    try:
        sync_path(draft)
        with failpoint("backup.rename"):
            os.replace(draft, file)
        sync_path(file.parent)
    except OSError as error:
        raise _failed(file, error) from error


def _failed(file: Path, error: OSError) -> Permanent | Temporary:
    kind = Permanent if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError) else Temporary
    return kind(f"{file} cannot be written: {error.strerror}.")


def restore(home: Home, file: Path, replacing: bool) -> int:
    """Replace a home's database with a backup. Return the number of tasks that were running in the backup.

    These tasks get the status `error` and the error kind `lost`. New events and claims get numbers that were used
    neither in the backup nor in the home. A failure changes nothing.

    Raises:
        InvalidInput: The file is not a backup, or is damaged.
        AlreadyRunning: A process of the home runs.
        MoveNotAllowed: A task runs, or the home has tasks that may not be replaced.
        Temporary: The database cannot be used now.
    """
    if not file.is_file():
        raise InvalidInput(f"{file} does not exist or is not a file.", field="FILE")
    _refuse_other(file)
    with without_supervisor(home), scratch_home(home) as scratch, ExitStack() as closing:
        _copy(file, scratch.database)
        copy = _Copy(scratch)
        closing.callback(copy.close)
        store = SqliteStore(home)
        closing.callback(store.close)
        _refuse_used(store, replacing)
        copy.advance_counters_past(store)  # the events of lost tasks need numbers that the home has not given
        lost = settle_lost(copy, "It was running when this backup was made.")
        store.replace_contents_with(copy)
        store.checkpoint()
    return lost


class _Copy(SqliteStore):
    """A copy of a database. No process uses it, even if the copied process table lists some."""

    def _registered(self) -> Sequence[Mapping[str, Any]]:
        return []


def _refuse_other(file: Path) -> None:
    """Raise InvalidInput if a file is not the database of a home, or is damaged."""
    damaged = DamagedDatabase(file)
    try:
        flaws = damaged.flaws()
        if not flaws and not any(row["name"] == "log" for row in damaged.rows("settings")):
            flaws = ["it has no event log"]
    finally:
        damaged.close()
    if flaws:
        raise InvalidInput(f"{file} is not a backup, or is damaged ({flaws[0]}).", field="FILE")


def _copy(file: Path, to: Path) -> None:
    try:
        with failpoint("restore.copy"):
            shutil.copyfile(file, to)
        to.chmod(0o600)
    except OSError as error:
        raise _failed(to, error) from error


def _refuse_used(store: Store, replacing: bool) -> None:
    running = [task.id for task in store.hosts.running() if task.agent != "external"]
    if running:
        tasks = f"{count_of(len(running), 'task')} {'runs' if len(running) == 1 else 'run'}"
        raise MoveNotAllowed(f"{tasks} in {store.home.folder}; see: backburner list --status running")
    if not replacing and store.tasks.page(Filter(), 2**62, 1).tasks:
        raise MoveNotAllowed(f"There are tasks in {store.home.folder}; to replace them: backburner restore --yes FILE")


@contextmanager
def without_supervisor(home: Home) -> Iterator[None]:
    """Keep supervisors out of a home in which none runs. Raises AlreadyRunning."""
    home.prepare()
    for role in ROLES:
        pid = Presence(home).holder(role)
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
def scratch_home(home: Home) -> Iterator[Home]:
    """Yield a temporary home for one database. Delete temporary homes that killed processes have left behind."""
    for abandoned in home.folder.glob(f"{SCRATCH}*"):
        with failpoint("scratch.remove"):
            shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=home.folder) as folder:
        yield Home(Path(folder))


def settle_lost(store: Store, why: str) -> int:
    """Settle all running and held tasks as lost, and deregister all processes. Return the number of tasks."""
    running, held = store.hosts.running(), store.queue.all_held()
    attempts = [_lost(task, why, None) for task in running] + [_lost(task, why, task.group) for task in held]
    Queue(store, DEFAULT_BACKGROUND_CONFIG).rescue(attempts)
    for process in [process for role in REGISTERED_ROLES for process in store.hosts.processes(role)]:
        store.hosts.deregister(process.number)
    return len(attempts)


def _lost(task: Attempted, why: str, group: str | None) -> Rescued:
    end = Settlement(number=task.number, claim=task.claim, status=TaskStatus.ERROR, error=why, error_kind="lost")
    return Rescued(task.number, task.claim, end, group, clock.now())


def files_beside(home: Home) -> list[Path]:
    """Return the files that SQLite keeps beside a database."""
    return [Path(f"{home.database}{end}") for end in ("-wal", "-shm")]
