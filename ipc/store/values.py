"""What goes into the store and comes out of it, besides the values of `model`."""

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
    """How a running task is to end: its text is the result or the error, `kind` the kind of the error."""

    status: TaskStatus
    text: str | None = None
    kind: str | None = None


class Change(NamedTuple):
    """What a change of a task has found. Nothing was changed if its worker holds the task: it was asked for it."""

    owner: int | None
    held: bool


class Cancelled(NamedTuple):
    """The tasks that are cancelled or will be, their workers, and the workers that hold others."""

    ids: list[str]
    owners: set[int]
    holders: set[int]


class Settled(NamedTuple):
    """The status of a settled task (None: its claim is no longer in force), and whether others may be ready now."""

    status: str | None
    frees_others: bool


class TaskState(NamedTuple):
    """Where a task is: what decisions about it need."""

    number: int
    status: TaskStatus
    claim: int | None
    verdict: str | None
    progress: str | None


class Filter(NamedTuple):
    """Which tasks a list shows: those with all of the `tags`.

    `cursor` is a page's `next`; a limit of None means all; `room` is in bytes.
    """

    status: TaskStatus | None = None
    parent: str | None = None
    model: str | None = None
    limit: int | None = 100
    cursor: str | None = None
    room: int = 2**62
    tags: Sequence[str] = ()


class TaskRows(NamedTuple):
    """Tasks of a list, newest first; the number of the last one; whether the limit of bytes ended the page."""

    tasks: list[Task]
    last: int
    is_cut: bool


class StoredTask(NamedTuple):
    """A task with all that it was launched with: its columns by name."""

    task: Task
    columns: Mapping[str, Any]


class Group(NamedTuple):
    """A limit group as it is now. A limit of 0 means that it has none of its own."""

    name: str
    limit: int
    running: int
    pending: int
    paused: bool


class Head(NamedTuple):
    """The first ready task of a group, and how many are ready, itself included.

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
    """A running task, as the supervisor sees it: its owner, and the verdict that was recorded."""

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
        """Return True if its worker is proved dead. External work has none and is never orphaned."""
        if self.agent == "external":
            return False
        return self.owner is None or presence.is_dead(self.owner.identity)


class Holder(NamedTuple):
    """A worker that holds tasks.

    `requested` is since when another process waits for it to publish them, in milliseconds since 1970, or None.
    """

    process: Process
    requested: int | None


class Adopted(NamedTuple):
    """How many tasks changed their session, and how many batches were delivered again."""

    tasks: int
    notices: int


class LaggingReader(NamedTuple):
    """A consumer that has not acknowledged a session's events for long."""

    parent: str
    consumer: str


class OldEvent(NamedTuple):
    """An event that a prune looks at. `at` is in milliseconds since 1970; `tasks` counts those its batch reports."""

    seq: int
    at: int
    parent: str | None
    deletable: bool
    tasks: int


class FileUser(NamedTuple):
    """A task and the files it uses: the output of its last claim, and its copied input."""

    number: int
    claim: int | None
    stdin_file: str | None
    completed_at: int | None


class PrunedRows(NamedTuple):
    """The tasks that were deleted, and how many events."""

    tasks: list[FileUser]
    events: int


class ClearedRows(NamedTuple):
    """What a clear has deleted: counts, the names of copied inputs, and the last claim that was given."""

    tasks: int
    events: int
    stdin_files: list[str]
    last_claim: int


class Upkeep(NamedTuple):
    """What is left of the engine's upkeep: bytes, and whether it is worth another try soon."""

    backlog: int
    is_behind: bool
