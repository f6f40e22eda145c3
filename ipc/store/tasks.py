"""Read tasks, what they wait for, and their output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import clock
from ..config.settings import BackgroundConfig
from ..errors import Ambiguous, MoveNotAllowed, NotFound
from ..home import Home
from ..machine.presence import Presence
from ..model.query import Filter, TaskState
from ..model.task import Task, TaskStatus

if TYPE_CHECKING:
    from ..model.attempt import Attempt
    from ..model.wait import Wait
    from .interface import Store

Stream = Literal["stdout", "stderr"]

#: More than any task number.
NEWEST = 2**62
#: The maximum number of tasks that one transaction reads. A long read keeps the write-ahead log from being reused.
CHUNK = 1000
#: Up to this many tasks are read one by one. For more tasks, all unfinished tasks are listed first.
FEW = 16
#: Seconds for which a supervisor that was found running is not looked up again.
SUPERVISED_FOR = 0.05

#: The values of `waiting_for` that are replaced by "supervisor" if no supervisor is running.
_NEEDS_SUPERVISOR = (None, "slot", "cap")


#: Stands for the ID of the last task that was launched.
LAST = "-"


class Page(NamedTuple):
    """Tasks, newest first, and where the next page starts."""

    tasks: list[Task]
    next: str | None


class Output(NamedTuple):
    """A piece of a task's output."""

    data: bytes
    #: The start of the next piece.
    offset: int
    #: True if there is no further output.
    eof: bool
    #: The size of the output up to now.
    size: int = 0
    #: The time when the file of a running attempt was changed (nanoseconds since 1970), or 0 if it is unknown.
    modified: int = 0


class _Piece(NamedTuple):
    """A piece of an output, where it ends, and the size and the time of the whole output."""

    data: bytes
    end: int
    size: int
    modified: int = 0


# In the class, the method `list` hides the type.
Ids = list[str]
TaskList = list[Task]
AttemptList = list["Attempt"]


class Tasks:
    """The tasks of a home, for reading."""

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        """Read from this store."""
        self.store = store
        self.home = store.home
        self.config = config
        self._presence = Presence(self.home)
        self._supervised_until = 0.0

    def get(self, id: str) -> Task:
        """Return a task with all its fields. Raises NotFound."""
        task = self.store.tasks.get(id)
        if task is None:
            raise self._no_task(id)
        return self._with_waiting_for([task])[0]

    def existing(self, ids: Iterable[str]) -> TaskList:
        """Return the tasks with these IDs and all their fields. Unknown IDs are omitted."""
        tasks = map(self.store.tasks.get, ids)
        return self._with_waiting_for([task for task in tasks if task is not None])

    def refresh(self, wait: Wait) -> TaskList:
        """Record in a wait which of its tasks have ended or were deleted. Return the tasks that have newly ended."""
        unchecked = wait.unfinished if len(wait.unfinished) <= FEW else wait.unfinished - set(self.unfinished())
        ids = [id for id in wait.ids if id in unchecked]
        tasks = self.existing(ids)
        unfinished = {task.id for task in tasks if not task.status.ended}
        wait.record_ends(id for id in ids if id not in unfinished)
        return [task for task in tasks if task.status.ended]

    def list(self, which: Filter) -> Page:
        """Return tasks, newest first, without their inputs."""
        before = int(which.cursor) if which.cursor else NEWEST
        remaining = NEWEST if which.limit is None else which.limit
        tasks: list[Task] = []
        while True:
            limit = min(remaining, CHUNK)
            rows, before, is_cut = self.store.tasks.page(which, before, limit)
            tasks += self._with_waiting_for(rows)
            remaining -= len(rows)
            if len(rows) < limit and not is_cut:
                return Page(tasks, None)
            if remaining <= 0 or is_cut:
                return Page(tasks, str(before))

    def in_order(self, which: Filter) -> Iterator[Task]:
        """Yield running tasks, pending tasks as they will start, and ended tasks, last end first.

        They are read in chunks, because all of them may be larger than the memory. Their prompts are cut.
        """
        numbers = self.store.tasks.in_order(which, NEWEST if which.limit is None else which.limit)
        for start in range(0, len(numbers), CHUNK):
            yield from self._with_waiting_for(self.store.tasks.numbered(numbers[start : start + CHUNK]))

    def counts(self, which: Filter) -> dict[TaskStatus, int]:
        """Return the number of tasks of each status."""
        return dict.fromkeys(TaskStatus, 0) | self.store.tasks.counts(which)

    def with_inputs(self, which: Filter) -> TaskList:
        """Return the tasks of a list, oldest first, with their inputs."""
        tasks = self.list(which).tasks[::-1]
        chunks = (tasks[start : start + CHUNK] for start in range(0, len(tasks), CHUNK))
        return [task for chunk in chunks for task in self.store.tasks.with_inputs(chunk)]

    def find(self, prefix: str) -> str:
        """Return the ID of the only task with a prefix, with or without `bg-`. The prefix `-` means the last task.

        Raises NotFound, Ambiguous.
        """
        ids = self.store.tasks.find(prefix)
        if not ids:
            raise self._no_task(prefix)
        if len(ids) > 1 and prefix not in ids:
            raise Ambiguous(f"Several tasks start with {prefix}: {', '.join(ids[:2])} …; give more of the ID.")
        return prefix if prefix in ids else ids[0]

    def output(self, id: str, stream: Stream, offset: int, limit: int, claim: int | None = None) -> Output:
        """Return at most `limit` bytes of one stream of a task's last attempt, from byte `offset`. Raises NotFound.

        With a claim, read the output of that attempt.
        """
        state = self._state(id)
        claim = claim or state.claim
        if claim is None:
            return Output(b"", offset, state.status.ended)
        ended = state.status is not TaskStatus.RUNNING or state.claim != claim
        piece = self._piece(claim, stream, offset, limit) or self._piece(claim, stream, offset, limit)
        data, end, size, modified = piece or _Piece(b"", offset, offset)
        return Output(data, end, ended and end >= size, size, modified)

    def tail(self, id: str, stream: Stream, limit: int) -> bytes:
        """Return the last `limit` bytes of one stream of a task's last attempt. Raises NotFound."""
        claim = self.claim_of(id)
        piece = None if claim is None else self._piece(claim, stream, 0, 0)
        if claim is None or piece is None:
            return b""
        size = piece[2]
        return self.output(id, stream, max(0, size - limit), limit, claim).data

    def claim_of(self, id: str) -> int | None:
        """Return the claim of a task's last attempt, or None before the first. Raises NotFound."""
        return self._state(id).claim

    def attempts(self, id: str) -> AttemptList:
        """Return the attempts of a task in order, as far as the log has their events. Raises NotFound."""
        from ..model.attempt import attempts_of

        task = self.get(id)
        return attempts_of(task, self.store.tasks.attempt_events(task.id))

    def _piece(self, claim: int, stream: Stream, offset: int, limit: int) -> _Piece | None:
        """Return a piece of an output, or None if the output just moved to the store."""
        stored = self.store.tasks.output(claim, stream, offset, limit)
        if stored is not None:
            data, size = stored
            return _Piece(data, offset + len(data), size)
        try:
            return _read_at(self.home.output(claim, stream), offset, limit)
        except FileNotFoundError:
            return None

    def refuse_self_deadlock(self, ids: Ids) -> None:
        """Raise MoveNotAllowed if the task that runs this process would wait for tasks that need its only slot.

        Deadlocks of more than two tasks are not detected.
        """
        mine = os.environ.get("BACKBURNER_TASK_ID")
        if mine is None:
            return
        for id, group in self.store.tasks.slot_deadlocks(ids, mine).items():
            raise MoveNotAllowed(
                f"Task {id} waits for the only slot of {group}, which this task holds, so the wait would "
                f"never end. Give it another key (--key), or allow two: backburner limit '{group}' 2."
            )

    def still_unfinished(self, ids: Sequence[str]) -> Ids:
        """Return the IDs of the tasks that have not ended. Raises NotFound."""
        return self.store.tasks.unfinished_of(ids)

    def unfinished(self, parent: str | None = None) -> Ids:
        """Return the IDs of the pending and running tasks of one session, or of all, oldest first."""
        return self.store.tasks.unfinished(parent)

    def _state(self, id: str) -> TaskState:
        state = self.store.tasks.state(id)
        if state is None:
            raise self._no_task(id)
        return state

    def _no_task(self, id: str) -> NotFound:
        if id == LAST:
            return no_tasks(self.home)
        return NotFound(f"There is no task {id} in {self.home.folder}.", field="id")

    def _with_waiting_for(self, tasks: Sequence[Task]) -> TaskList:
        """Return tasks with the right `waiting_for`. If no supervisor is running, ready tasks wait for one."""
        waits = any(_waits_for_supervisor(task) for task in tasks)
        if not waits or self._is_supervised():
            return self._with_shared_limits(tasks) if waits and self.config.shared_limits else [*tasks]
        return [replace(task, waiting_for="supervisor") if _waits_for_supervisor(task) else task for task in tasks]

    def _with_shared_limits(self, tasks: Sequence[Task]) -> TaskList:
        """Return tasks with the right `waiting_for` if they wait for a slot that other state directories use."""
        from ..config.limits import SharedPools  # few users have shared limits
        from ..machine.shared_slots import count_taken

        pools = SharedPools(self.config.shared_limits)
        full = {pool for pool, taken in count_taken(pools.limits).items() if taken >= pools.limits[pool]}

        def is_waiting(task: Task) -> bool:
            is_ready = task.status is TaskStatus.PENDING and task.waiting_for is None
            return is_ready and pools.pool(task.concurrency_key) in full

        return [replace(task, waiting_for="slot") if is_waiting(task) else task for task in tasks]

    def _is_supervised(self) -> bool:
        """Return True if a supervisor is running, or was during the last `SUPERVISED_FOR` seconds."""
        now = clock.monotonic()
        if now >= self._supervised_until and self._presence.is_held("supervisor"):
            self._supervised_until = now + SUPERVISED_FOR
        return now < self._supervised_until


def no_tasks(home: Home) -> NotFound:
    """Return the error that names a home without tasks, and the next step."""
    return NotFound(f"There are no tasks in {home.folder}; to launch one: backburner launch -- COMMAND", field="id")


def waiting_for(columns: Mapping[str, Any]) -> str | None:
    """Return what a pending task waits for if a supervisor is running."""
    if columns["status"] != TaskStatus.PENDING:
        return None
    if not columns["ready"]:
        return "dependency" if columns["blocked"] else "delay"
    if columns["paused"]:
        return "paused"
    if columns["full"]:
        return "slot"
    capped = columns["workers"] and columns["busy"] >= columns["workers"] and columns["agent"] != "external"
    return "cap" if capped else None


def _waits_for_supervisor(task: Task) -> bool:
    return task.status is TaskStatus.PENDING and task.waiting_for in _NEEDS_SUPERVISOR


def _read_at(path: os.PathLike[str], offset: int, limit: int) -> _Piece:
    """Return a piece of a file. A line of text replaces a hole."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        size = status.st_size
        modified = status.st_mtime_ns if status.st_blocks * 512 >= size else 0  # punching a hole changes the time
        if offset >= size:
            return _Piece(b"", offset, size, modified)
        start = _seek(file.fileno(), offset, os.SEEK_DATA, size)
        if start > offset:
            note = f"\n[{start - offset} bytes are missing here: more than output_limit_mb]\n"
            return _Piece(note.encode(), start, size, modified)
        stop = _seek(file.fileno(), offset, os.SEEK_HOLE, size)
        file.seek(offset)
        data = file.read(min(limit, stop - offset))
        return _Piece(data, offset + len(data), size, modified)


def _seek(descriptor: int, offset: int, whence: int, size: int) -> int:
    """Return the start of the next data or hole, or the end of the file."""
    try:
        return os.lseek(descriptor, offset, whence)
    except OSError:
        return size
