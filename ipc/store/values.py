"""The arguments and results of the store that are not values of `model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..machine.identity import Identity
    from ..machine.presence import Presence
    from ..model.claim import Slot

#: The size in bytes after which a page of events, a list of tasks or a batch ends.
PAGE_BYTES = 1024 * 1024


class Group(NamedTuple):
    """A limit group. A limit of 0 means no limit."""

    name: str
    limit: int
    running: int
    pending: int
    paused: bool


class Head(NamedTuple):
    """The first ready task of a group, and the number of ready tasks, including the first.

    `queued_at` is the time of its launch, in milliseconds since 1970.
    """

    number: int
    external: bool
    ready: int
    queued_at: int
    key: str


class Process(NamedTuple):
    """A registered process of a role. Its number is never given to another process."""

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
        """Return True if the task's worker is certainly dead. An external task has no worker and is never orphaned."""
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
    """The deleted tasks, and the number of deleted events."""

    tasks: list[FileUser]
    events: int


class ClearedRows(NamedTuple):
    """The counts of deleted rows, the names of copied inputs, and the last claim."""

    tasks: int
    events: int
    stdin_files: list[str]
    last_claim: int


class Upkeep(NamedTuple):
    """The bytes that remain to be maintained. `is_behind` is true if another try is due soon."""

    backlog: int
    is_behind: bool
