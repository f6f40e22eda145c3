"""The arguments and results of the store, besides the values of `model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..machine.identity import Identity
    from ..machine.presence import Presence
    from ..model.claim import Slot, Taken
    from ..model.task import Task, TaskStatus

#: Bytes after which a page of events, a list of tasks and a batch end.
PAGE_BYTES = 1024 * 1024


class Assignment(NamedTuple):
    """A task that a launch has claimed for a parked worker; `owner` is that worker's number."""

    owner: int
    taken: Taken


class Verdict(NamedTuple):
    """How a running task will end. `text` is the result or the error, `kind` the kind of the error."""

    status: TaskStatus
    text: str | None = None
    kind: str | None = None


class Change(NamedTuple):
    """The worker of a changed task. If it holds the task, the change was not made and the task is requested."""

    owner: int | None
    held: bool


class Cancelled(NamedTuple):
    """The tasks that are cancelled or will be, their workers, and the workers that hold others of the tasks."""

    ids: list[str]
    owners: set[int]
    holders: set[int]


class Settled(NamedTuple):
    """The status of a settled task, or None if its claim is no longer in force.

    `frees_others` is true if other tasks may be ready now.
    """

    status: str | None
    frees_others: bool


class TaskState(NamedTuple):
    """The fields of a task that decisions need."""

    number: int
    status: TaskStatus
    claim: int | None
    verdict: str | None
    progress: str | None


class Filter(NamedTuple):
    """The tasks of a list. They have all of the `tags`.

    `cursor` is a page's `next`. A limit of None means all tasks. A page ends after `room` bytes.
    """

    status: TaskStatus | None = None
    parent: str | None = None
    model: str | None = None
    limit: int | None = 100
    cursor: str | None = None
    room: int = 2**62
    tags: Sequence[str] = ()


class TaskRows(NamedTuple):
    """Tasks of a list, newest first, and the number of the last one. `is_cut`: the page ended after `room` bytes."""

    tasks: list[Task]
    last: int
    is_cut: bool


class StoredTask(NamedTuple):
    """A task, and its columns by name, including the columns of its input."""

    task: Task
    columns: Mapping[str, Any]


class Group(NamedTuple):
    """A limit group. A limit of 0 means that it has none."""

    name: str
    limit: int
    running: int
    pending: int
    paused: bool


class Head(NamedTuple):
    """The first ready task of a group, and the number of ready ones, including the first.

    `queued_at` is when it was launched, in milliseconds since 1970.
    """

    number: int
    external: bool
    ready: int
    queued_at: int


class Process(NamedTuple):
    """A registered process of a role; its number is never given to another one."""

    number: int
    role: str
    identity: Identity


class Running(NamedTuple):
    """A running task with its worker and the recorded verdict."""

    number: int
    id: str
    claim: int
    key: str
    slot: Slot
    agent: str
    attempt: int
    max_attempts: int
    interruptions: int
    verdict: str | None
    pid: int | None
    owner: Process | None

    def is_orphaned(self, presence: Presence) -> bool:
        """Return True if its worker is proved dead. An external task has none and is never orphaned."""
        if self.agent == "external":
            return False
        return self.owner is None or presence.is_dead(self.owner.identity)


class Holder(NamedTuple):
    """A worker that holds tasks.

    `requested` is the time since which another process waits for them, in milliseconds since 1970, or None.
    """

    process: Process
    requested: int | None


class Adopted(NamedTuple):
    """The number of tasks that changed their session, and of batches that were delivered again."""

    tasks: int
    notices: int


class LaggingReader(NamedTuple):
    """A consumer that has not acknowledged an old event of a session."""

    parent: str
    consumer: str


class OldEvent(NamedTuple):
    """An event that may be old enough to delete. `at` is in milliseconds since 1970; a batch has `tasks` tasks."""

    seq: int
    at: int
    parent: str | None
    deletable: bool
    tasks: int


class FileUser(NamedTuple):
    """A task and its files: the output of its last claim, and the copied input."""

    number: int
    claim: int | None
    stdin_file: str | None
    completed_at: int | None


class PrunedRows(NamedTuple):
    """The tasks that were deleted, and the number of events."""

    tasks: list[FileUser]
    events: int


class ClearedRows(NamedTuple):
    """The counts of deleted rows, the names of copied inputs, and the last claim."""

    tasks: int
    events: int
    stdin_files: list[str]
    last_claim: int


class Upkeep(NamedTuple):
    """The bytes that are left to maintain. `is_behind`: another try is due soon."""

    backlog: int
    is_behind: bool
