"""Reading tasks."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from .. import clock
from ..config.settings import BackgroundConfig
from ..errors import Ambiguous, MoveNotAllowed, NotFound
from ..machine.presence import Presence
from ..model.fields import LIST, OBJECT
from ..model.task import Task, TaskStatus
from .sqlite.database import ENDLESS, Database, Row, Transaction, Values

Stream = Literal["stdout", "stderr"]

#: The number of tasks after which lists end, unless asked for more or fewer.
PAGE = 100
#: More than any task number.
NEWEST = 2**62
#: Rows that one transaction reads at most, so that no reader holds the write-ahead log for long.
CHUNK = 1000
#: Seconds for which a supervisor that was found running is not looked up again.
SUPERVISED_FOR = 0.05


class Filter(NamedTuple):
    """Which tasks a list shows. `cursor` is a page's `next`; `limit` None: all; a page fills about `room` bytes."""

    status: TaskStatus | None = None
    parent: str | None = None
    model: str | None = None
    limit: int | None = PAGE
    cursor: str | None = None
    room: int = ENDLESS


class Page(NamedTuple):
    """Tasks, newest first, and where the next page starts."""

    tasks: list[Task]
    next: str | None


class Output(NamedTuple):
    """A piece of what a task wrote; `offset` is where the next piece starts, `eof` whether nothing more can come."""

    data: bytes
    offset: int
    eof: bool


Rows = list[Row]
Ids = list[str]
Found = list[Task]


class Tasks:
    """The tasks of a home, to read."""

    def __init__(self, database: Database, config: BackgroundConfig) -> None:
        """Read from this database; `config` says how many workers there may be."""
        self.database = database
        self.home = database.home
        self.config = config
        self._presence = Presence(self.home)
        self._supervised_until = 0.0

    def get(self, id: str) -> Task:
        """One task, whole. Raises NotFound."""
        with self.database.read() as transaction:
            row = row_of(transaction, id)
        if row is None:
            raise NotFound(f"There is no task {id} in {self.home.folder}.", field="id")
        return self._seen([said_of(row)])[0]

    def list(self, which: Filter) -> Page:
        """Tasks, newest first, without their inputs."""
        before = int(which.cursor) if which.cursor else NEWEST
        left = NEWEST if which.limit is None else which.limit
        tasks: list[Task] = []
        while True:
            most = min(left, CHUNK)
            rows, fit = self._rows(which, before, most)
            tasks += self._seen([said_of(row) for row in rows])
            left -= len(rows)
            if fit and len(rows) < most:
                return Page(tasks, None)
            before = rows[-1]["number"]
            if left <= 0 or not fit:
                return Page(tasks, str(before))

    def whole(self, which: Filter) -> Found:
        """The tasks of a list, oldest first, with their inputs."""
        tasks = self.list(which).tasks[::-1]
        return [task for start in range(0, len(tasks), CHUNK) for task in self._filled(tasks[start : start + CHUNK])]

    def _filled(self, tasks: Found) -> Found:
        ids = json.dumps([task.id for task in tasks])
        with self.database.read() as transaction:
            rows = {row["id"]: row for row in transaction.all("list_prompts", {"ids": ids})}
        return [_with_input(task, rows[task.id]) if task.id in rows else task for task in tasks]

    def find(self, prefix: str) -> str:
        """The whole id that a prefix (with or without `bg-`) or `-` (the last one launched) means.

        Raises NotFound, Ambiguous.
        """
        with self.database.read() as transaction:
            found = transaction.all(*_search(prefix))
        ids = [row["id"] for row in found]
        if not ids:
            raise NotFound(f"There is no task {prefix} in {self.home.folder}.", field="id")
        if len(ids) > 1 and prefix not in ids:
            raise Ambiguous(f"Several tasks start with {prefix}: {', '.join(ids[:2])} …; give more of the id.")
        return prefix if prefix in ids else str(ids[0])

    def output(self, id: str, stream: Stream, offset: int, limit: int, claim: int | None = None) -> Output:
        """What a task's last try wrote to one stream, from byte `offset`, at most `limit` bytes. Raises NotFound.

        With a claim, what the try of that claim wrote.
        """
        state = self._state(id)
        wanted = claim or state["claim"]
        if wanted is None:
            return Output(b"", offset, TaskStatus(state["status"]).ended)
        over = state["status"] != "running" or state["claim"] != wanted
        found = self._piece(wanted, stream, offset, limit) or self._piece(wanted, stream, offset, limit)
        data, end, size = found or (b"", offset, 0)
        return Output(data, end, over and end >= size)

    def try_of(self, id: str) -> int | None:
        """The claim of a task's last try, by which its output is known; None before the first. Raises NotFound."""
        claim: int | None = self._state(id)["claim"]
        return claim

    def _piece(self, claim: int, stream: Stream, offset: int, limit: int) -> tuple[bytes, int, int] | None:
        """From the database or from the file, with its end and the whole size; None where it has just moved between."""
        values = {"claim": claim, "stream": stream, "offset": offset, "limit": limit}
        with self.database.read() as transaction:
            row = transaction.one("get_output", values)
        if row is not None:
            return row["data"], offset + len(row["data"]), row["size"]
        try:
            return _read_at(self.home.output(claim, stream), offset, limit)
        except FileNotFoundError:
            return None

    def refuse_own_slot(self, ids: Ids) -> None:
        """Refuse to wait, from within a task, for one that waits for the only slot there is: that task has it.

        Raises MoveNotAllowed. Of longer rings nothing is known here: who else waits for whom.
        """
        mine = os.environ.get("BACKBURNER_TASK_ID")
        if mine is None:
            return
        with self.database.read() as transaction:
            found = {id: transaction.value("find_slot_deadlock", {"id": id, "mine": mine}) for id in ids}
        for id, group in found.items():
            if group is not None:
                raise MoveNotAllowed(
                    f"Task {id} waits for the only slot of {group}, which this very task has: to wait for it would "
                    f"never end. Give it another key (--key), or allow two: backburner limit '{group}' 2."
                )

    def going_on(self, ids: Sequence[str]) -> Ids:
        """Those of some tasks that have not ended. Raises NotFound."""
        with self.database.read() as transaction:
            states = {id: state_of(transaction, id, self.home.folder)["status"] for id in ids}
        return [id for id, status in states.items() if not TaskStatus(status).ended]

    def unfinished(self, parent: str | None = None) -> Ids:
        """Ids of the pending and running tasks of one parent, or of all, oldest first."""
        with self.database.read() as transaction:
            return [row["id"] for row in transaction.all("list_unfinished_ids", {"parent": parent})]

    def _rows(self, which: Filter, before: int, most: int) -> tuple[Rows, bool]:
        values = {"status": which.status, "parent": which.parent, "model": which.model, "before": before, "limit": most}
        with self.database.read() as transaction:
            return transaction.some(_list_statement(which), values, which.room)

    def _state(self, id: str) -> Row:
        with self.database.read() as transaction:
            return state_of(transaction, id, self.home.folder)

    def _seen(self, rows: Sequence[Values]) -> Found:
        """Tasks from what `task_rows` says of them, with what they wait for."""
        waits = any(row["status"] == TaskStatus.PENDING for row in rows)
        supervised = waits and self._is_supervised()
        return [_task(row, self._waiting_for(row, supervised)) for row in rows]

    def _is_supervised(self) -> bool:
        """Return True if a supervisor is running, or was within `SUPERVISED_FOR`. One that starts is seen at once."""
        now = clock.monotonic()
        if now >= self._supervised_until and self._presence.is_held("supervisor"):
            self._supervised_until = now + SUPERVISED_FOR
        return now < self._supervised_until

    def _waiting_for(self, row: Values, supervised: bool) -> str | None:
        if row["status"] != TaskStatus.PENDING:
            return None
        if not row["ready"]:
            return "dependency" if row["blocked"] else "delay"
        if row["paused"]:
            return "paused"
        if not supervised:
            return "supervisor"
        if row["full"]:
            return "slot"
        most = row["workers"] or self.config.max_workers
        return "cap" if row["busy"] >= most and row["agent"] != "external" else None


def row_of(transaction: Transaction, id: str) -> Row | None:
    """Everything about a task, or None."""
    return transaction.one("get_task", {"id": id})


def whole_rows(transaction: Transaction, after: int, most: int | None) -> Rows:
    """The next tasks by number, with all that they were launched with; `most` None: all."""
    return transaction.all("list_whole_tasks", {"after": after, "limit": -1 if most is None else most})


def known_task(transaction: Transaction, id: str) -> Task:
    """A task that is there, but for what it waits for."""
    row = row_of(transaction, id)
    assert row is not None, "a task stays until its end was told"
    return task_of(row)


def find_state(transaction: Transaction, id: str) -> Row | None:
    """Where a task is, or None."""
    return transaction.one("get_state", {"id": id})


def state_of(transaction: Transaction, id: str, folder: object) -> Row:
    """Where a task is. Raises NotFound."""
    row = find_state(transaction, id)
    if row is None:
        raise NotFound(f"There is no task {id} in {folder}.", field="id")
    return row


def state_of_group(transaction: Transaction, group: str) -> Values:
    """What pending tasks of a group wait for, which is there."""
    row = transaction.one("get_group_state", {"limit_group": group})
    assert row is not None, "its group is ensured before anything waits in it"
    return said_of(row)


def _list_statement(which: Filter) -> str:
    if which.parent is not None:
        return "list_tasks_of_parent"
    if which.status in (TaskStatus.PENDING, TaskStatus.RUNNING):
        return "list_unfinished_tasks"
    if which.status in (TaskStatus.ERROR, TaskStatus.CANCELLED):
        return "list_failed_tasks"
    return "list_tasks"


def _search(prefix: str) -> tuple[str, dict[str, str]]:
    if prefix == "-":
        return "get_last_id", {}
    start = prefix if prefix.startswith("bg-") else f"bg-{prefix}"
    return "find_ids", {"from": start, "to": start + "~"}


def _read_at(path: os.PathLike[str], offset: int, limit: int) -> tuple[bytes, int, int]:
    """A piece of a file, where the next one starts, and how long the file is; a hole is told in words."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if offset >= size:
            return b"", offset, size
        start = _seek(file.fileno(), offset, os.SEEK_DATA, size)
        if start > offset:
            words = f"\n[{start - offset} bytes are missing here: more than output_limit_mb]\n"
            return words.encode(), start, size
        stop = _seek(file.fileno(), offset, os.SEEK_HOLE, size)
        file.seek(offset)
        data = file.read(min(limit, stop - offset))
        return data, offset + len(data), size


def _seek(descriptor: int, offset: int, whence: int, size: int) -> int:
    """Where the next data or hole begins; the file's end where there is none."""
    try:
        return os.lseek(descriptor, offset, whence)
    except OSError:
        return size


def task_of(row: Row) -> Task:
    """A task from its row in `task_rows`, but for what it waits for."""
    return _task(said_of(row), None)


def said_of(row: Row) -> Values:
    """A row's values by name: the row itself would go over its columns for each."""
    return dict(zip(row.keys(), row, strict=True))


def _task(said: Values, waiting_for: str | None) -> Task:
    return Task.of_columns(said, waiting_for)


def _with_input(task: Task, row: Row) -> Task:
    return replace(task, prompt=row["prompt"], args=LIST.load(row["args"]), kwargs=OBJECT.load(row["kwargs"]))
