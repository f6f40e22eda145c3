"""The interface of the store, which each engine implements. One method is one operation and one transaction.

Arguments and results are plain values. No statement, row, transaction or error of an engine leaves the store.
A refused operation raises NotFound, MoveNotAllowed, InvalidInput or OverCap; one that may succeed later, Temporary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..config.limits import Limits
    from ..config.settings import BackgroundConfig
    from ..home import Home
    from ..machine.identity import Identity
    from ..model import claim as claims
    from ..model.attempt import AttemptEvent
    from ..model.edit import TaskEdit
    from ..model.event import Line
    from ..model.query import Filter, StoredTask, TaskRows, TaskState
    from ..model.task import Task, TaskStatus
    from .export_format import SavedTask
    from .launch import NewTask
    from .values import (
        Adopted,
        ClearedRows,
        FileUser,
        Group,
        Head,
        Holder,
        LaggingReader,
        OldEvent,
        Process,
        PrunedRows,
        Running,
        Upkeep,
    )


class QueueStore(Protocol):
    """Changes of the status of tasks."""

    def launch(self, tasks: Sequence[NewTask], config: BackgroundConfig) -> claims.Assignment | None:
        """Accept all tasks in order, or none, and set their missing fields. A parked worker claims a single one."""

    def take(self, slot: claims.Slot, owner: int | None, count: int, key: str | None = None) -> list[claims.Taken]:
        """Start a slot's next task (of a key, if given), within the limit. Hold up to `count` - 1 that follow."""

    def advance(self, step: claims.Step) -> claims.Advance:
        """Publish the states of a worker's tasks, and take more, or park the worker."""

    def settle(self, settlement: claims.Settlement) -> claims.Settled:
        """End an attempt, unless its claim is no longer in force."""

    def rescue(self, attempts: Sequence[claims.Rescued]) -> list[str | None]:
        """Settle a dead worker's tasks in order. Return their statuses, or None for claims no longer in force."""

    def held_by(self, owner: int) -> list[claims.Held]:
        """Return the tasks that a worker holds, in order."""

    def all_held(self) -> list[claims.Held]:
        """Return the tasks that workers hold, including workers that are not registered."""

    def record_verdict(self, number: int, claim: int, verdict: claims.Verdict) -> bool:
        """Record the verdict on a running attempt; return True if it was the first."""

    def record_pid(self, number: int, claim: int, pid: int | None) -> None:
        """Record the first process of a running attempt."""

    def record_stale(self, number: int, claim: int, idle_ms: int) -> None:
        """Record, once per attempt, that it has given no sign of life for `idle_ms` milliseconds."""

    def record_progress(self, number: int, claim: int, text: str) -> None:
        """Record the progress of a running attempt."""

    def set_progress(self, id: str, text: str) -> claims.Change:
        """Record the progress of a running task. Raises NotFound, MoveNotAllowed."""

    def cancel(self, id: str) -> claims.Change:
        """Cancel a pending task, or record the verdict on a running one. Raises NotFound, MoveNotAllowed."""

    def cancel_many(self, ids: Sequence[str]) -> claims.Cancelled:
        """Cancel the tasks that have not ended."""

    def cancel_waiting(self, limit: int) -> int:
        """Cancel up to `limit` pending tasks, and return their number."""

    def end(self, id: str, verdict: claims.Verdict) -> claims.Change:
        """Record a user's verdict on a running task. Raises NotFound, MoveNotAllowed."""

    def retry(self, id: str, config: BackgroundConfig) -> None:
        """Queue a failed or cancelled task again. Raises NotFound, MoveNotAllowed."""

    def edit(self, id: str, edit: TaskEdit, config: BackgroundConfig) -> claims.Change:
        """Change a pending task. Raises NotFound, MoveNotAllowed."""

    def remove(self, ids: Sequence[str], batch_size: int) -> list[FileUser]:
        """Delete ended tasks, all or none, and return their files. Their events stay. Raises NotFound, MoveNotAllowed.

        An end that waits for a batch gets into one of up to `batch_size` tasks first.
        """

    def next_due(self) -> int | None:
        """Return the next time to call `promote`, in milliseconds since 1970. 0 means now, and None means never."""

    def promote(self, limit: int) -> set[str]:
        """Make due tasks ready, end tasks that have waited too long, and return the groups of these tasks."""

    def shift(self, by: int, since: int) -> None:
        """Move delays, expiries and timeouts of tasks launched before `since` by `by` milliseconds."""

    def parked(self) -> dict[int, claims.Slot]:
        """Return the slot of each parked worker."""

    def unpark(self, owner: int) -> bool:
        """Take a worker out of its slot. Return False if it was not parked."""

    def assigned(self, owner: int) -> claims.Taken | None:
        """Return the running task of a worker, or None."""


class TaskStore(Protocol):
    """Reading tasks. `waiting_for` is computed as if a supervisor were running."""

    def get(self, id: str) -> Task | None:
        """Return a task with all its fields, or None."""

    def page(self, which: Filter, before: int, limit: int) -> TaskRows:
        """Return tasks with smaller numbers than `before`, newest first, without their inputs."""

    def in_order(self, which: Filter, limit: int) -> list[int]:
        """Return the numbers of running tasks, pending tasks as they will start, and ended tasks, last end first."""

    def numbered(self, numbers: Sequence[int]) -> list[Task]:
        """Return the tasks with these numbers in this order, with the start of their prompts. Others are omitted."""

    def counts(self, which: Filter) -> dict[TaskStatus, int]:
        """Return the number of tasks of each status. A status without tasks may be missing."""

    def with_inputs(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the same tasks with their inputs."""

    def stored(self, after: int, limit: int) -> list[StoredTask]:
        """Return the next tasks by number, with the columns of their inputs."""

    def find(self, prefix: str) -> list[str]:
        """Return up to three IDs with a prefix. The prefix `-` means the last task."""

    def state(self, id: str) -> TaskState | None:
        """Return the state of a task, or None."""

    def unfinished(self, parent: str | None) -> list[str]:
        """Return the IDs of the pending and running tasks of a session, or of all, oldest first."""

    def unfinished_of(self, ids: Sequence[str]) -> list[str]:
        """Return the IDs of the tasks that have not ended. Raises NotFound."""

    def for_people(self, ids: Sequence[str]) -> tuple[set[str], bool]:
        """Return the tasks with `notify`, and True if a task without a session is unfinished."""

    def output(self, claim: int, stream: str, offset: int, limit: int) -> tuple[bytes, int] | None:
        """Return a piece of an attempt's output and the size of the whole output, or None if it is in files."""

    def attempt_events(self, id: str) -> list[AttemptEvent]:
        """Return the events that begin and end the attempts of a task, in order."""

    def mean_durations(self, limit: int) -> dict[str, float]:
        """Return the mean milliseconds of a completed attempt by key, from the `limit` tasks that ended last."""

    def slot_deadlocks(self, ids: Sequence[str], mine: str) -> dict[str, str]:
        """Return the tasks that wait for the only slot of their group while `mine` has it, with their groups."""


class EventStore(Protocol):
    """The event log: events, cursors and batches."""

    def id(self) -> str:
        """Return the ID of this log: another log may have the same numbers."""

    def last_seq(self) -> int:
        """Return the number of the last event."""

    def newest(self) -> int:
        """Return the number of the newest event that is not deleted, or 0."""

    def read(self, parent: str | None, after: int, limit: int) -> list[Line]:
        """Return up to `limit` events after `after`, of one session or of all, in order."""

    def page(self, parent: str | None, after: int, limit: int, room: int = ...) -> tuple[list[Line], bool]:
        """Return events like `read`, but stop after `room` bytes. The second value is True if no events follow."""

    def cursor(self, parent: str, consumer: str) -> int:
        """Return the number of the last event of a session that a consumer has acknowledged, or 0."""

    def cursors(self, parent: str) -> dict[str, int]:
        """Return the cursor of each consumer that has acknowledged anything."""

    def acknowledge(self, parent: str, consumer: str, seq: int) -> int:
        """Move a cursor forward and return its position. Raises InvalidInput beyond the end of the log."""

    def dismiss(self, parent: str, consumer: str) -> None:
        """Delete a cursor."""

    def truncated(self, parent: str | None, after: int) -> int | None:
        """Return the first event number that was not deleted, or None if no event after `after` was deleted."""

    def unread_batches(self, parent: str, consumer: str, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the first unread batches with their numbers, up to a size. `allComplete` is computed now."""

    def lagging(self, before: int, limit: int) -> list[LaggingReader]:
        """Return consumers that have not acknowledged an event from before a time."""

    def has_unbatched(self, parent: str) -> bool:
        """Return True if a session has an ended task that is in no batch yet."""

    def unbatched(self) -> dict[str, tuple[int, int]]:
        """Return by session the number of ended tasks that wait for a batch, and the time since which they wait."""

    def count_unbatched(self) -> int:
        """Return the number of ended tasks that wait for a batch."""

    def form_batch(self, parent: str, limit: int) -> int:
        """Form a batch of up to `limit` ended tasks of a session, and return the number of its tasks."""

    def form_batches(self, ends: Mapping[str, int], limit: int) -> int:
        """Form batches of the given number of ended tasks of each session, and return the number of batches.

        A batch has up to `limit` tasks.
        """


class LimitStore(Protocol):
    """Limit groups: keys that share a limit, their limits and pauses."""

    def limits(self, config: BackgroundConfig) -> Limits:
        """Return the limits in force, or the limits of `config` until a supervisor has applied a configuration."""

    def groups(self) -> list[Group]:
        """Return every group that has tasks or its own limit, or is paused."""

    def waiting(self) -> list[tuple[int, str]]:
        """Return the number of the first ready task, and the group, for each group that is not paused."""

    def head(self, group: str, limit: int, is_blocked: Callable[[str], bool] | None = None) -> Head | None:
        """Return the first ready task of a group that is not paused, and count up to `limit`. Skip blocked keys."""

    def configure(self, config: BackgroundConfig) -> set[int]:
        """Apply the configured limits and regroup all tasks.

        If workers hold tasks, change nothing, request that they publish their tasks, and return these workers.
        """

    def set_limit(self, key: str, limit: int | None, config: BackgroundConfig) -> set[int]:
        """Set a limit that survives restarts, and regroup all tasks. If workers hold tasks, act like `configure`."""

    def pause(self, key: str, paused: bool, config: BackgroundConfig) -> tuple[str, set[int]]:
        """Pause or resume the group of a key. Return the group, and the workers that still hold tasks of it."""

    def request_held(self, group: str | None) -> set[int]:
        """Request that workers publish held tasks of a group, or of all groups (None). Return these workers."""

    def set_single(self, single: bool) -> None:
        """Let workers take one task at a time, or many."""


class HostStore(Protocol):
    """The processes of this program, and the tasks that they run."""

    def register(self, role: str, identity: Identity) -> int:
        """Register a process and return its number."""

    def deregister(self, number: int) -> None:
        """Delete a process."""

    def process(self, number: int) -> Process | None:
        """Return a process, or None."""

    def processes(self, role: str) -> list[Process]:
        """Return all processes that are registered under a role, dead or alive."""

    def started_at(self, role: str, pid: int) -> int | None:
        """Return when a process of this role was registered, in milliseconds since 1970, or None."""

    def holders(self) -> list[Holder]:
        """Return the workers that hold tasks."""

    def running(self) -> list[Running]:
        """Return all running tasks."""


class SessionStore(Protocol):
    """Sessions: their successors, and the sessions in which the processes of clients were last seen."""

    def successor(self, parent: str) -> str:
        """Return the session that receives a session's launches and notifications: itself, unless it was adopted."""

    def adopt(self, parent: str, successor: str, batch_size: int) -> Adopted:
        """Move all tasks and unread batches of a session to its successor."""

    def of_process(self, process: Identity) -> tuple[str | None, str | None]:
        """Return the last session of a client's process, and the session for which its server launches."""

    def record(self, process: Identity, session: str) -> None:
        """Record that a client's process is in a session, and clear the session's successor."""

    def record_served(self, process: Identity, session: str) -> None:
        """Record the session for which the server of a client's process launches."""

    def clients_of(self, session: str) -> list[str]:
        """Return the names of the processes that were last seen in a session."""


class MaintenanceStore(Protocol):
    """Settings, retention, import and maintenance."""

    def setting(self, name: str) -> str | None:
        """Return an applied setting, or None."""

    def apply_settings(self, values: Mapping[str, str], durable: bool = True) -> None:
        """Set several settings."""

    def newest_time(self) -> int | None:
        """Return the time of the newest event in milliseconds since 1970, or None."""

    def old_events(self, after: int, ancient: int, limit: int) -> list[OldEvent]:
        """Return the next events, and which of them may be deleted."""

    def delete_events(self, seqs: Sequence[int], ends: Mapping[str, int], before: int) -> PrunedRows:
        """Delete events, and the tasks of their batches that ended before a time.

        `ends` has the last deleted event of each session.
        """

    def old_tasks(self, place: tuple[int, int], before: int, ancient: int, limit: int) -> list[FileUser]:
        """Return the next old ended tasks in no batch. `place` has the end and the number of the previous task."""

    def delete_tasks(self, tasks: Sequence[FileUser], before: int) -> list[FileUser]:
        """Delete and return the tasks that ended before a time."""

    def delete_idle_groups(self, limit: int) -> int:
        """Delete up to `limit` groups without tasks, and return their number."""

    def delete_idle_keys(self, limit: int) -> int:
        """Delete up to `limit` keys without a group, and return their number."""

    def idle_parents(self, after: str, limit: int) -> list[str]:
        """Return the next sessions that have only cursors."""

    def delete_parents(self, parents: Sequence[str]) -> None:
        """Delete the cursors of sessions."""

    def delete_clients(self, before: int) -> None:
        """Delete the processes of clients that were last seen before a time."""

    def file_users(self, before: int, limit: int) -> list[FileUser]:
        """Return the files of tasks with smaller numbers than `before`, newest first."""

    def clear(self) -> ClearedRows | None:
        """Delete all tasks, events and cursors. Return None if a task is unfinished or in no batch yet."""

    def add(self, tasks: Sequence[SavedTask], config: BackgroundConfig) -> int:
        """Add the saved tasks that have new IDs, and return their number."""

    def replace(self, tasks: Mapping[str, Task], saved: Iterable[SavedTask], config: BackgroundConfig) -> bool | None:
        """Replace all tasks. Return False if a task is running, or None if an ended task is in no batch yet."""

    def maintain(self) -> Upkeep:
        """Do the maintenance of the engine that is due."""

    def blockers(self) -> list[int]:
        """Return the processes that block the maintenance, if they are visible to this user."""


class Store(Protocol):
    """An open store. Threads may share it; call `release` before a fork."""

    #: "full" or "normal". Reported data survives a power loss with "full", and the death of any process with "normal".
    durability: str

    home: Home
    queue: QueueStore
    tasks: TaskStore
    events: EventStore
    limits: LimitStore
    hosts: HostStore
    sessions: SessionStore
    maintenance: MaintenanceStore

    def changed(self) -> int:
        """Return a number that changes whenever another process commits."""

    def sync(self) -> None:
        """Make what can be read now durable. Raises Unsynced."""

    def release(self) -> None:
        """Close the connection before a fork; the next operation opens it again."""

    def close(self) -> None:
        """Close the store."""
