"""The store: what an engine must offer. One method is one operation and one transaction.

Values in and out are those of `model`, of this module, and of the module that calls the part. No statement, row,
transaction or error of an engine leaves it. The parts raise NotFound, MoveNotAllowed, InvalidInput and OverCap for what
cannot be done, and Temporary (GateBusy, Unsynced) for what cannot be done now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..config.limits import Limits
    from ..config.settings import BackgroundConfig
    from ..home import Home
    from ..machine.identity import Identity
    from ..model.claim import Advance, Held, Rescued, Settlement, Slot, Step, Taken
    from ..model.event import Line
    from ..model.task import Task
    from .export_format import Saved
    from .launch import NewTask
    from .values import (
        Adopted,
        Assignment,
        Cancelled,
        Change,
        ClearedRows,
        FileUser,
        Filter,
        Group,
        Head,
        Holder,
        LaggingReader,
        OldEvent,
        Process,
        PrunedRows,
        Running,
        Settled,
        StoredTask,
        TaskRows,
        TaskState,
        Upkeep,
        Verdict,
    )


class QueueStore(Protocol):
    """Every change of a task's status."""

    def launch(self, tasks: Sequence[NewTask], config: BackgroundConfig) -> Assignment | None:
        """Accept new tasks in order, all or none, and set what came of each; claim a single one for a parked worker."""

    def take(self, slot: Slot, owner: int | None, count: int) -> list[Taken]:
        """Start the next task of a slot's group and hold up to `count` - 1 behind it, within the limit in force."""

    def advance(self, step: Step) -> Advance:
        """Publish what a worker's tasks have come to, and take more, or park the worker."""

    def settle(self, settlement: Settlement) -> Settled:
        """End an attempt, unless its claim is no longer in force."""

    def rescue(self, attempts: Sequence[Rescued]) -> list[str | None]:
        """Settle what a dead worker had taken, in order; the status is None where a claim is no longer in force."""

    def held_by(self, owner: int) -> list[Held]:
        """Return the tasks that a worker holds, in order."""

    def all_held(self) -> list[Held]:
        """Return the tasks that workers hold, whether these workers are registered or not."""

    def record_verdict(self, number: int, claim: int, verdict: Verdict) -> bool:
        """Record the verdict on a running attempt; return True if it was the first."""

    def record_pid(self, number: int, claim: int, pid: int | None) -> None:
        """Record the first process of a running attempt."""

    def record_stale(self, number: int, claim: int, idle_ms: int) -> None:
        """Record, once per attempt, that it gave no sign of life for so long."""

    def record_progress(self, number: int, claim: int, text: str) -> None:
        """Record the progress of a running attempt."""

    def set_progress(self, id: str, text: str) -> Change:
        """Record the progress of a running task. Raises NotFound, MoveNotAllowed."""

    def cancel(self, id: str) -> Change:
        """Cancel a pending task, or record the verdict on a running one. Raises NotFound, MoveNotAllowed."""

    def cancel_many(self, ids: Sequence[str]) -> Cancelled:
        """Cancel those of some tasks that have not ended."""

    def cancel_waiting(self, limit: int) -> int:
        """Cancel pending tasks, at most `limit`; return how many."""

    def end(self, id: str, verdict: Verdict) -> Change:
        """Record the verdict on a running task, from outside. Raises NotFound, MoveNotAllowed."""

    def retry(self, id: str, config: BackgroundConfig) -> None:
        """Queue a failed or cancelled task again. Raises NotFound, MoveNotAllowed."""

    def next_due(self) -> int | None:
        """Return when `promote` has something to do, in milliseconds since 1970; 0 for now, None for never."""

    def promote(self, limit: int) -> set[str]:
        """Make ready what waits no longer, and end what waited too long; return the groups that are concerned."""

    def shift(self, by: int, since: int) -> None:
        """Move delays, expiries and timeouts by so many milliseconds, but for tasks launched after `since`."""

    def parked(self) -> dict[int, Slot]:
        """Return the slot of each parked worker."""

    def unpark(self, owner: int) -> bool:
        """Take a worker out of its slot; return False if it is not parked any more."""

    def assigned(self, owner: int) -> Taken | None:
        """Return the running task of a worker, or None."""


class TaskStore(Protocol):
    """Tasks, to read. What a pending one waits for is given as if a supervisor were running."""

    def get(self, id: str) -> Task | None:
        """Return a task, whole."""

    def page(self, which: Filter, before: int, limit: int) -> TaskRows:
        """Return tasks with smaller numbers than `before`, newest first, without their inputs."""

    def with_inputs(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the same tasks with their inputs."""

    def stored(self, after: int, limit: int) -> list[StoredTask]:
        """Return the next tasks by number, with all that they were launched with."""

    def find(self, prefix: str) -> list[str]:
        """Return the first IDs that start with a prefix; `-` means the last task."""

    def state(self, id: str) -> TaskState | None:
        """Return where a task is, or None."""

    def unfinished(self, parent: str | None) -> list[str]:
        """Return the IDs of the pending and running tasks of a session, or of all, oldest first."""

    def unfinished_of(self, ids: Sequence[str]) -> list[str]:
        """Return those of some tasks that have not ended. Raises NotFound."""

    def output(self, claim: int, stream: str, offset: int, limit: int) -> tuple[bytes, int] | None:
        """Return a piece of an attempt's output and the size of the whole, if the store has it."""

    def slot_deadlocks(self, ids: Sequence[str], mine: str) -> dict[str, str]:
        """Return the group of each of some tasks that waits for the only slot of a group, held by the task `mine`."""


class EventStore(Protocol):
    """The event log: lines, cursors, batches."""

    def id(self) -> str:
        """Return the name of this log: another one may have the same numbers."""

    def last_seq(self) -> int:
        """Return the last number that was given."""

    def newest(self) -> int:
        """Return the number of the newest event that is still there, or 0."""

    def read(self, parent: str | None, after: int, limit: int) -> list[Line]:
        """Return at most `limit` events after `after`, of one session or of all, in order."""

    def page(self, parent: str | None, after: int, limit: int, room: int = ...) -> tuple[list[Line], bool]:
        """Like `read`, but stop after `room` bytes; also return True if there are no further events."""

    def cursor(self, parent: str, consumer: str) -> int:
        """Return up to where a consumer has acknowledged a session's events; 0 at first."""

    def cursors(self, parent: str) -> dict[str, int]:
        """Return the cursor of each consumer that has acknowledged anything."""

    def acknowledge(self, parent: str, consumer: str, seq: int) -> int:
        """Move a cursor forward; return where it is now. Raises InvalidInput beyond the log's end."""

    def dismiss(self, parent: str, consumer: str) -> None:
        """Delete a cursor."""

    def truncated(self, parent: str | None, after: int) -> int | None:
        """Return the first number that is still there, if some after `after` are not; else None."""

    def unread_batches(self, parent: str, consumer: str, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """Return the first batches that a consumer has not acknowledged, with their numbers.

        `allComplete` is as it is now: it may have changed since a batch was formed.
        """

    def lagging(self, before: int, limit: int) -> list[LaggingReader]:
        """Return consumers that have not acknowledged what was written before a time."""

    def has_unbatched(self, parent: str) -> bool:
        """Return True if an end of a session's tasks is in no batch yet."""

    def unbatched(self) -> dict[str, tuple[int, int]]:
        """Return per session how many ends wait for a batch, and since when (milliseconds since 1970)."""

    def count_unbatched(self) -> int:
        """Return how many ends wait for a batch."""

    def form_batch(self, parent: str, limit: int) -> int:
        """Form a batch of at most `limit` ended tasks of a session; return how many are in it."""

    def form_batches(self, ends: Mapping[str, int], limit: int) -> int:
        """Form the batches of so many ended tasks per session; return how many were formed."""


class LimitStore(Protocol):
    """Limit groups: which keys share a limit, how high it is, what is paused."""

    def limits(self, config: BackgroundConfig) -> Limits:
        """Return the limits in force; before any supervisor has applied a configuration, those of `config`."""

    def groups(self) -> list[Group]:
        """Return every group that has tasks, a limit of its own, or is paused."""

    def waiting(self) -> list[tuple[int, str]]:
        """Return the number of the first ready task of each group that has one and is not paused, and the group."""

    def head(self, group: str, limit: int) -> Head | None:
        """Return the first ready task of a group that is not paused; ready ones are counted up to `limit`."""

    def configure(self, config: BackgroundConfig) -> set[int]:
        """Apply the configured limits and regroup; while workers hold tasks only ask for these: return the workers."""

    def set_limit(self, key: str, limit: int | None, config: BackgroundConfig) -> set[int]:
        """Set a limit that outlives restarts and regroup; while workers hold tasks only ask for these."""

    def pause(self, key: str, paused: bool, config: BackgroundConfig) -> tuple[str, set[int]]:
        """Pause or resume the group of a key; return the group, and the workers that still hold tasks of it."""

    def request_held(self, group: str | None) -> set[int]:
        """Ask the workers that hold tasks of a group (None: of any) to publish them; return these workers."""

    def set_single(self, single: bool) -> None:
        """Have workers take one task at a time, or as many as they like."""


class HostStore(Protocol):
    """The processes of this program, and the tasks that they run."""

    def register(self, role: str) -> int:
        """Register this process; return its number."""

    def deregister(self, number: int) -> None:
        """Delete a process."""

    def process(self, number: int) -> Process | None:
        """Return a process."""

    def processes(self, role: str) -> list[Process]:
        """Return all that are registered under a role, dead or alive."""

    def started_at(self, role: str, pid: int) -> int | None:
        """Return when a process of that role was registered, in milliseconds since 1970."""

    def holders(self) -> list[Holder]:
        """Return the workers that hold tasks."""

    def running(self) -> list[Running]:
        """Return all running tasks."""


class SessionStore(Protocol):
    """Sessions: which one succeeds another, and with which one each client's process was last seen."""

    def successor(self, parent: str) -> str:
        """Return the session that a session's launches and notifications go to: itself, unless it was adopted."""

    def adopt(self, parent: str, successor: str, batch_size: int) -> Adopted:
        """Give all tasks and unread batches of one session to another."""

    def of_process(self, process: Identity) -> tuple[str | None, str | None]:
        """Return the session that a client's process was last seen with, and the one its server was started for."""

    def record(self, process: Identity, session: str) -> None:
        """Record that a client's process is in a session, which succeeds itself from now on."""

    def record_served(self, process: Identity, session: str) -> None:
        """Record for which session a server of a client's process launches."""

    def clients_of(self, session: str) -> list[str]:
        """Return the names of the processes that were last seen with a session."""


class MaintenanceStore(Protocol):
    """Settings, retention, import and upkeep."""

    def setting(self, name: str) -> str | None:
        """Return a setting that was applied, or None."""

    def apply_settings(self, values: Mapping[str, str], durable: bool = True) -> None:
        """Set several settings."""

    def newest_time(self) -> int | None:
        """Return the latest time of any event or task, in milliseconds since 1970."""

    def old_events(self, after: int, ancient: int, limit: int) -> list[OldEvent]:
        """Return the next events with what decides whether they may be deleted."""

    def delete_events(self, seqs: Sequence[int], ends: Mapping[str, int], before: int) -> PrunedRows:
        """Delete events, and the tasks of their batches that ended before a time; record where each log begins."""

    def old_tasks(self, place: tuple[int, int], before: int, ancient: int, limit: int) -> list[FileUser]:
        """Return the next ended tasks that are old enough and in no batch, after a time and number."""

    def delete_tasks(self, tasks: Sequence[FileUser], before: int) -> list[FileUser]:
        """Delete those of some tasks that ended before a time; return them."""

    def delete_idle_groups(self, limit: int) -> int:
        """Delete groups without tasks; return how many."""

    def delete_idle_keys(self, limit: int) -> int:
        """Delete keys without a group; return how many."""

    def idle_parents(self, after: str, limit: int) -> list[str]:
        """Return the next sessions of which only cursors are left."""

    def delete_parents(self, parents: Sequence[str]) -> None:
        """Delete the cursors of sessions."""

    def delete_clients(self, before: int) -> None:
        """Delete the processes of clients that were last seen before a time."""

    def file_users(self, before: int, limit: int) -> list[FileUser]:
        """Return tasks with smaller numbers than `before`, newest first, and their files."""

    def clear(self) -> ClearedRows | None:
        """Delete all tasks, events and cursors; None if something is unfinished or in no batch yet."""

    def add(self, tasks: Sequence[Saved], config: BackgroundConfig) -> int:
        """Add the saved tasks whose IDs are unknown here; return how many."""

    def replace(self, tasks: Mapping[str, Task], saved: Iterable[Saved], config: BackgroundConfig) -> bool | None:
        """Make these the tasks of the store. False if one runs, None if an end is in no batch yet."""

    def maintain(self) -> Upkeep:
        """Do the engine's upkeep that is due."""

    def blockers(self) -> list[int]:
        """Return the processes that keep the upkeep from its work, as far as they can be seen."""


class Store(Protocol):
    """An open store. Threads may share it; a fork may not carry it (`release`)."""

    #: "full": what is reported outlives a power loss; "normal": it outlives the death of any process.
    durability: str

    #: The state directory that it belongs to.
    home: Home
    queue: QueueStore
    tasks: TaskStore
    events: EventStore
    limits: LimitStore
    hosts: HostStore
    sessions: SessionStore
    maintenance: MaintenanceStore

    def changed(self) -> int:
        """Return a number that differs when another process has committed since it was last asked for."""

    def sync(self) -> None:
        """Make what can be read now durable. Raises Unsynced."""

    def release(self) -> None:
        """Close the connection before a fork; the next operation opens it again."""

    def close(self) -> None:
        """Close the store."""
