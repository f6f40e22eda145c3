"""What may be forgotten, forgotten in small steps: nobody waits for the gate for long."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..config.settings import BackgroundConfig
from ..failpoints import failpoint
from .sqlite.database import Database, Row, Transaction

#: Rows that one transaction deletes at most.
STEP = 200
#: Rows that are looked at in one go.
LOOK = 2000
#: After so many times the retention, and never within a day, even what nobody has acknowledged is forgotten.
UNHEARD = 10
#: Milliseconds in a day, and the age from which a file that nothing knows of is forgotten.
DAY = 86_400_000
ORPHAN_AGE = 3_600_000
#: What a file of ours is named after: the number of a claim, or a copied input's random name.
OWNED = re.compile(r"(\d+|[0-9a-f]{32})(\.\w+)?")

STREAMS = ("stdout", "stderr")


@dataclass
class Pruned:
    """How much was forgotten."""

    tasks: int = 0
    events: int = 0
    files: int = 0


@dataclass
class Walk:
    """How far a walk over the event log has come.

    Of each parent only the beginning goes, so that what is left of its events has no holes.
    """

    after: int = 0
    over: bool = False
    held: set[str] = field(default_factory=set)

    def take(self, rows: list[Row], before: int) -> list[Row]:
        """Those of the next rows that may go."""
        young = next((place for place, row in enumerate(rows) if row["at"] >= before), None)
        self.over = young is not None or len(rows) < STEP
        found = rows[:young]
        self.after = found[-1]["seq"] if found else self.after
        return [row for row in found if self._may_go(row)]

    def _may_go(self, row: Row) -> bool:
        if not row["deletable"]:
            self.held.add(row["parent"])
        return row["parent"] not in self.held


class Pruning:
    """One round over everything that grows: events, tasks, what belongs to them, and files."""

    def __init__(self, database: Database, config: BackgroundConfig, now: int) -> None:
        """Forget what `retention_days` of `config` did not cover at `now` (milliseconds since 1970)."""
        self.home = database.home
        self.done = Pruned()
        self._database = database
        kept = config.retention_days * DAY
        self._now = now
        self._before = round(now - kept)
        self._ancient = round(now - max(DAY, UNHEARD * kept))

    def steps(self) -> Iterator[None]:
        """Do all of it, a small step for each item; may be left at any time, the next round goes on."""
        for part in (self._events, self._tasks, self._names, self._parents, self._orphans):
            yield from part()

    def _events(self) -> Iterator[None]:
        """Delete events that are old enough, and with each batch the tasks that it reports."""
        walk = Walk()
        while not walk.over:
            values = {"after": walk.after, "ancient": self._ancient, "limit": STEP}
            with self._database.read() as transaction:
                rows = transaction.all("list_old_events", values)
            for part in _portions(walk.take(rows, self._before)):
                self._forget_events(part)
                yield
            yield

    def _forget_events(self, gone: list[Row]) -> None:
        seqs = json.dumps([row["seq"] for row in gone])
        ends = {row["parent"]: row["seq"] for row in gone if row["parent"] is not None}
        ends["*"] = gone[-1]["seq"]
        with self._database.write(durable=False) as transaction:
            tasks = self._delete(transaction, transaction.all("list_batched_tasks", {"seqs": seqs}))
            deleted = transaction.run("delete_events", {"seqs": seqs})
            for parent, seq in ends.items():
                transaction.run("record_truncation", {"parent": parent, "seq": seq})
        self.done.events += deleted
        self._clean_up(tasks)

    def _tasks(self) -> Iterator[None]:
        """Delete tasks that ended long ago and that no batch takes along."""
        place = {"from": 0, "after": 0, "before": self._before, "ancient": self._ancient, "limit": STEP}
        while rows := self._read("list_old_tasks", place):
            place |= {"from": rows[-1]["completed_at"], "after": rows[-1]["number"]}
            with self._database.write(durable=False) as transaction:
                tasks = self._delete(transaction, rows)
            self._clean_up(tasks)
            yield

    def _delete(self, transaction: Transaction, tasks: list[Row]) -> list[Row]:
        """Delete those of these tasks that are still old enough; return them."""
        by_number = {task["number"]: task for task in tasks}
        values = {"numbers": json.dumps(list(by_number)), "before": self._before}
        return [by_number[row["number"]] for row in transaction.all("delete_tasks", values)]

    def _clean_up(self, tasks: list[Row]) -> None:
        """Count deleted tasks and unlink their files; what a crash leaves behind, `_orphans` finds."""
        self.done.tasks += len(tasks)
        for task in tasks:
            self._unlink(self._files(task))

    def _files(self, row: Row) -> Iterator[Path]:
        if row["claim"] is not None:
            yield from (self.home.output(row["claim"], stream) for stream in STREAMS)
        if row["stdin_file"] is not None:
            yield self.home.input(row["stdin_file"])

    def _names(self) -> Iterator[None]:
        """Groups and keys that no unfinished task is in; a launch makes them again."""
        yield from self._repeat(lambda: self._delete_idle("delete_idle_groups"))
        yield from self._repeat(lambda: self._delete_idle("delete_idle_keys"))

    def _delete_idle(self, name: str) -> int:
        with self._database.write(durable=False) as transaction:
            return transaction.run(name, {"limit": STEP})

    def _parents(self) -> Iterator[None]:
        """How far parents read of whom nothing else is left, and clients of long ago."""
        after = ""
        while rows := self._read("list_idle_parents", {"after": after, "limit": STEP}):
            after = rows[-1]["parent"]
            parents = {"parents": json.dumps([row["parent"] for row in rows])}
            with self._database.write(durable=False) as transaction:
                transaction.run("delete_cursors", parents)
                transaction.run("delete_truncations", parents)
            yield
        with self._database.write(durable=False) as transaction:
            transaction.run("delete_clients", {"before": self._ancient})
        yield

    def _orphans(self) -> Iterator[None]:
        """Files that no task knows of: of tries before the last, of launches cut short."""
        orphans = Orphans(self.home.folder, self._now - ORPHAN_AGE)
        before = 2**62
        while orphans and (rows := self._read("list_file_users", {"before": before, "limit": LOOK})):
            before = rows[-1]["number"]
            orphans.spare(rows)
            yield
        self._unlink(orphans)

    def _read(self, name: str, values: dict[str, int] | dict[str, object]) -> list[Row]:
        with self._database.read() as transaction:
            return transaction.all(name, values)

    def _repeat(self, step: Callable[[], int]) -> Iterator[None]:
        while step() == STEP:
            yield

    def _unlink(self, paths: Iterable[Path]) -> None:
        for path in paths:
            try:
                with failpoint("prune.unlink"):
                    path.unlink()
            except FileNotFoundError:  # its output is in the database, or it wrote nothing
                continue
            self.done.files += 1


class Orphans:
    """Old files in the home that no task was found for, yet."""

    def __init__(self, folder: Path, before: int) -> None:
        """Suspect the files of tries and the copied inputs that were last changed before a time."""
        self._files = dict(_old_files(folder, before))

    def __bool__(self) -> bool:
        return bool(self._files)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._files)

    def spare(self, rows: Iterable[Row]) -> None:
        """Clear those that belong to these tasks."""
        owners = {str(row["claim"]) for row in rows} | {row["stdin_file"] for row in rows}
        self._files = {path: owner for path, owner in self._files.items() if owner not in owners}


def _portions(events: list[Row]) -> Iterator[list[Row]]:
    """Split events so that each part, and the tasks that its batches report, are `STEP` rows or one event."""
    part: list[Row] = []
    room = STEP
    for event in events:
        room -= 1 + event["tasks"]
        if part and room < 0:
            yield part
            part, room = [], STEP - 1 - event["tasks"]
        part.append(event)
    if part:
        yield part


def _old_files(folder: Path, before: int) -> Iterator[tuple[Path, str]]:
    for name in ("output", "input"):
        for path in (folder / name).iterdir():
            owned = OWNED.fullmatch(path.name)
            if owned and _changed(path) < before:
                yield path, owned[1]


def _changed(path: Path) -> float:
    """When a file was last changed, in milliseconds since 1970; one that is gone, just now."""
    try:
        return path.stat().st_mtime * 1000
    except FileNotFoundError:  # its task has just been settled
        return float("inf")
