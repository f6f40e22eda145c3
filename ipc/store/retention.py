"""Delete old events and tasks in small steps, so that no writer waits long for the write lock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.settings import BackgroundConfig
from ..failpoints import failpoint
from ..home import Home
from ..model.event import ALL_SESSIONS
from .values import FileUser, OldEvent

if TYPE_CHECKING:
    from .interface import Store

#: The maximum number of rows that one transaction deletes.
STEP = 200
#: The maximum number of rows that are read at once.
READ_SIZE = 2000
#: Unacknowledged events are kept this many times longer (at least a day).
UNACKNOWLEDGED_FACTOR = 10
#: Milliseconds in a day, and the age from which a file that belongs to no task is deleted.
DAY = 86_400_000
ORPHAN_AGE = 3_600_000
#: The name of a file that belongs to a task: the number of a claim, or the random name of a copied input.
OWNED = re.compile(r"(\d+|[0-9a-f]{32})(\.\w+)?")

STREAMS = ("stdout", "stderr")


@dataclass
class Pruned:
    """The numbers of deleted tasks, events and files."""

    tasks: int = 0
    events: int = 0
    files: int = 0


@dataclass
class Walk:
    """A walk over the event log.

    Only the first events of each session are deleted, so that the remaining ones have no gaps. `kept` has the
    sessions with an event that may not be deleted.
    """

    after: int = 0
    finished: bool = False
    kept: set[str | None] = field(default_factory=set)

    def take(self, events: Sequence[OldEvent], before: int) -> list[OldEvent]:
        """Return the next events that may be deleted."""
        young = next((index for index, event in enumerate(events) if event.at >= before), None)
        self.finished = young is not None or len(events) < STEP
        old = events[:young]
        self.after = old[-1].seq if old else self.after
        return [event for event in old if self._is_deletable(event)]

    def _is_deletable(self, event: OldEvent) -> bool:
        if not event.deletable:
            self.kept.add(event.parent)
        return event.parent not in self.kept


class Retention:
    """One round of deletions: events, tasks with their rows, unused keys, groups and cursors, and files."""

    def __init__(self, store: Store, config: BackgroundConfig, now: int) -> None:
        """Plan to delete everything that is older than `retention_days` at `now` (milliseconds since 1970)."""
        self.done = Pruned()
        self._home = store.home
        self._store = store.maintenance
        retention = config.retention_days * DAY
        self._now = now
        self._before = round(now - retention)
        self._ancient = round(now - max(DAY, UNACKNOWLEDGED_FACTOR * retention))

    def steps(self) -> Iterator[None]:
        """Do one small step per item. The caller may stop early, because the next round does the rest."""
        for part in (self._events, self._tasks, self._groups, self._parents, self._orphans):
            yield from part()

    def _events(self) -> Iterator[None]:
        """Delete events that are old enough, and the tasks of the deleted batches."""
        walk = Walk()
        while not walk.finished:
            events = self._store.old_events(walk.after, self._ancient, STEP)
            for part in _portions(walk.take(events, self._before)):
                self._delete_events(part)
                yield
            yield

    def _delete_events(self, events: Sequence[OldEvent]) -> None:
        ends = {event.parent: event.seq for event in events if event.parent is not None}
        seqs = [event.seq for event in events]
        deleted = self._store.delete_events(seqs, {**ends, ALL_SESSIONS: seqs[-1]}, self._before)
        self.done.events += deleted.events
        self._clean_up(deleted.tasks)

    def _tasks(self) -> Iterator[None]:
        """Delete tasks that ended long ago and that are in no batch."""
        place = (0, 0)
        while tasks := self._store.old_tasks(place, self._before, self._ancient, STEP):
            place = (tasks[-1].completed_at or 0, tasks[-1].number)
            self._clean_up(self._store.delete_tasks(tasks, self._before))
            yield

    def _clean_up(self, tasks: Sequence[FileUser]) -> None:
        """Count deleted tasks and unlink their files. `_orphans` finds the files that a crash leaves behind."""
        self.done.tasks += len(tasks)
        for task in tasks:
            self._unlink(files_of(task, self._home))

    def _groups(self) -> Iterator[None]:
        """Delete groups and keys without unfinished tasks. A launch creates them again."""
        yield from _repeat(self._store.delete_idle_groups)
        yield from _repeat(self._store.delete_idle_keys)

    def _parents(self) -> Iterator[None]:
        """Delete the cursors of sessions that have nothing else, and old clients."""
        after = ""
        while parents := self._store.idle_parents(after, STEP):
            after = parents[-1]
            self._store.delete_parents(parents)
            yield
        self._store.delete_clients(self._ancient)
        yield

    def _orphans(self) -> Iterator[None]:
        """Unlink files of earlier attempts and of interrupted launches, which belong to no task."""
        orphans = Orphans(self._home.folder, self._now - ORPHAN_AGE)
        before = 2**62
        while orphans and (tasks := self._store.file_users(before, READ_SIZE)):
            before = tasks[-1].number
            orphans.spare(tasks)
            yield
        self._unlink(orphans)

    def _unlink(self, paths: Iterable[Path]) -> None:
        self.done.files += unlink(paths)


def files_of(task: FileUser, home: Home) -> Iterator[Path]:
    """Yield the paths of the files that a task may have."""
    if task.claim is not None:
        yield from (home.output(task.claim, stream) for stream in STREAMS)
    if task.stdin_file is not None:
        yield home.input(task.stdin_file)


def unlink(paths: Iterable[Path]) -> int:
    """Unlink files of deleted tasks, and return their number. A round of deletions finds what a crash leaves."""
    count = 0
    for path in paths:
        try:
            with failpoint("prune.unlink"):
                path.unlink()
        except FileNotFoundError:  # the output is in the database, or there was none
            continue
        count += 1
    return count


class Orphans:
    """Old files in the home that belong to none of the tasks that were read so far."""

    def __init__(self, folder: Path, before: int) -> None:
        """List the files of outputs and inputs that were last changed before a time."""
        self._files = dict(_old_files(folder, before))

    def __bool__(self) -> bool:
        return bool(self._files)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._files)

    def spare(self, tasks: Iterable[FileUser]) -> None:
        """Remove the files of these tasks from the list."""
        owners = {str(task.claim) for task in tasks} | {task.stdin_file for task in tasks}
        self._files = {path: owner for path, owner in self._files.items() if owner not in owners}


def _repeat(delete: Callable[[int], int]) -> Iterator[None]:
    while delete(STEP) == STEP:
        yield


def _portions(events: Sequence[OldEvent]) -> Iterator[list[OldEvent]]:
    """Split events into parts. A part has up to `STEP` events and tasks of batches, or a single larger event."""
    part: list[OldEvent] = []
    room = STEP
    for event in events:
        room -= 1 + event.tasks
        if part and room < 0:
            yield part
            part, room = [], STEP - 1 - event.tasks
        part.append(event)
    if part:
        yield part


def _old_files(folder: Path, before: int) -> Iterator[tuple[Path, str]]:
    for name in ("output", "input"):
        for path in (folder / name).iterdir():
            owned = OWNED.fullmatch(path.name)
            if owned and _changed_at(path) < before:
                yield path, owned[1]


def _changed_at(path: Path) -> float:
    """Return the time of a file's last change in milliseconds since 1970, or infinity if there is no file."""
    try:
        return path.lstat().st_mtime * 1000  # of a link itself, not of the file for stdin that it names
    except FileNotFoundError:  # its task has just been settled
        return float("inf")
