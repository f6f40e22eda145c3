"""Claims as values: a slot, an attempt at a task, and its settlement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from .task import TaskStatus

#: A function with at least this many bytes of arguments runs alone, not in a series.
LARGE_ARGUMENTS = 16 * 1024

#: A task with a shorter timeout, in milliseconds, runs alone, because the timeouts of a series are checked less often.
SHORT_TIMEOUT = 50


@dataclass(frozen=True)
class Slot:
    """The right to run one task of a group."""

    group: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """An attempt at a task, with everything that is needed to run it."""

    number: int
    id: str
    claim: int
    slot: Slot
    attempt: int
    max_attempts: int
    interruptions: int
    agent: str
    cwd: str
    parent: str | None = None
    model: str | None = None
    #: The agent's session that the task continues.
    session: str | None = None
    description: str | None = None
    prompt: str | None = None
    command: tuple[str, ...] | None = None
    call: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    #: The stored environment of the launcher, below that of the agent. Null stands for absent variables.
    launcher_env: Mapping[str, str | None] = field(default_factory=dict)
    #: The variables that the launch names. Null stands for the supervisor's value.
    env: Mapping[str, str | None] = field(default_factory=dict)
    umask: str | None = None
    interpreter: str | None = None
    agent_args: tuple[str, ...] = ()
    stdin: str | None = None
    stdin_file: str | None = None
    timeout_ms: int | None = None
    leave_children: bool | None = None


class Attempted(Protocol):
    """The properties of an attempt that a settlement names or that a retry depends on."""

    @property
    def number(self) -> int:
        """Return the number of the task."""

    @property
    def claim(self) -> int:
        """Return the claim of this attempt."""

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1."""

    @property
    def max_attempts(self) -> int:
        """Return the maximum number of attempts at the task."""

    @property
    def interruptions(self) -> int:
        """Return the number of claims under which the task was not started."""


class ReadyTask(NamedTuple):
    """A ready task with its inputs, as the database stores them. JSON values are text."""

    number: int
    id: str
    parent: str | None
    session: str | None
    description: str | None
    agent: str
    model: str | None
    attempt: int
    max_attempts: int
    interruptions: int
    timeout_ms: int | None
    cwd: str
    call: str | None
    command: str | None
    launcher_env: str | None
    env: str | None
    umask: str | None
    interpreter: str | None
    agent_args: str | None
    args: str | None
    kwargs: str | None
    stdin: str | None
    stdin_file: str | None
    prompt: str | None
    leave_children: int | None
    resumes: str | None

    @property
    def is_plain(self) -> bool:
        """Return True if the task may run in a series with others."""
        return (
            self.agent in ("python", "command")
            and self.stdin is None
            and self.stdin_file is None
            and not self.leave_children
            and (self.timeout_ms is None or self.timeout_ms >= SHORT_TIMEOUT)
            and len(self.args or "") + len(self.kwargs or "") < LARGE_ARGUMENTS
        )

    def may_precede(self, other: ReadyTask) -> bool:
        """Return True if the other task may follow this plain one in a series."""
        return self.agent == other.agent and self.interpreter == other.interpreter and other.is_plain


class Taken:
    """A task that a worker has claimed. It is the current task of the worker's slot, or is held to run after that."""

    __slots__ = ("claim", "current", "slot", "started_at", "task")

    def __init__(self, task: ReadyTask, claim: int, slot: Slot, started_at: int | None) -> None:
        """Describe a claimed task. `started_at` (milliseconds since 1970) is set only for the slot's current task."""
        self.task, self.claim, self.slot = task, claim, slot
        self.current = started_at is not None
        self.started_at = started_at or 0

    @property
    def number(self) -> int:
        """Return the number of the task."""
        return self.task.number

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1."""
        return self.task.attempt

    @property
    def max_attempts(self) -> int:
        """Return the maximum number of attempts at the task."""
        return self.task.max_attempts

    @property
    def interruptions(self) -> int:
        """Return the number of claims under which the task was not started."""
        return self.task.interruptions

    def claimed(self) -> Claimed:
        """Return the attempt with its inputs decoded."""
        task = self.task
        return Claimed(
            number=task.number,
            id=task.id,
            claim=self.claim,
            slot=self.slot,
            attempt=task.attempt,
            max_attempts=task.max_attempts,
            interruptions=task.interruptions,
            agent=task.agent,
            cwd=task.cwd,
            parent=task.parent,
            model=task.model,
            session=task.session if task.resumes else None,
            description=task.description,
            prompt=task.prompt,
            command=tuple(json.loads(task.command)) if task.command else None,
            call=task.call,
            args=tuple(json.loads(task.args)) if task.args else (),
            kwargs=json.loads(task.kwargs) if task.kwargs else {},
            launcher_env=decoded_environment(task.launcher_env),
            env=decoded_environment(task.env),
            umask=task.umask,
            interpreter=task.interpreter,
            agent_args=tuple(json.loads(task.agent_args)) if task.agent_args else (),
            stdin=task.stdin,
            stdin_file=task.stdin_file,
            timeout_ms=task.timeout_ms,
            leave_children=None if task.leave_children is None else bool(task.leave_children),
        )


@lru_cache(8)  # each environment may be a megabyte
def decoded_environment(text: str | None) -> dict[str, str | None]:
    """Return stored variables. Do not change them, because the tasks of one launcher share them."""
    variables: dict[str, str | None] = json.loads(text) if text else {}
    return variables


class Ended(NamedTuple):
    """A taken task after the end of its attempt, with its start (milliseconds since 1970) and its settlement."""

    taken: Taken
    started_at: int
    settlement: Settlement


class Held(NamedTuple):
    """A task that a worker holds to run after its current task, as another process sees it."""

    number: int
    id: str
    claim: int
    attempt: int
    max_attempts: int
    interruptions: int
    group: str
    agent: str
    #: The number of the worker that holds it.
    owner: int
    #: The time (milliseconds since 1970) since which another process has been waiting for the task, or None.
    requested: int | None


class Rescued(NamedTuple):
    """An attempt of a dead worker, and its settlement.

    `group` is set if the worker held the task. A held task without a settlement was not started, and is requeued.
    """

    number: int
    claim: int
    settlement: Settlement | None
    group: str | None = None
    started_at: int = 0


@dataclass
class Step:
    """The changes to a slot that its worker publishes in one transaction, and the number of tasks that it takes."""

    slot: Slot
    owner: int
    ended: Sequence[Ended] = ()
    #: A task that is still running. It becomes the current task of the slot.
    current: Taken | None = None
    #: Held tasks that were not started.
    returned: Sequence[Taken] = ()
    count: int = 0


class Advance(NamedTuple):
    """The result of a step: the tasks that the worker has taken.

    `parked` is True if the worker has taken no task and is parked in its slot now. `frees_others` is True if tasks for
    other slots may have become ready.
    """

    taken: list[Taken]
    parked: bool
    frees_others: bool


class Settlement(NamedTuple):
    """The end of an attempt. `unused` means that nothing was started, so the attempt does not count.

    `ended_at` is in milliseconds since 1970. None means now.
    """

    number: int
    claim: int
    status: TaskStatus
    result: str | None = None
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    leftovers: int = 0
    session: str | None = None
    not_before: int | None = None
    unused: bool = False
    outputs: tuple[tuple[str, bytes], ...] = ()
    ended_at: int | None = None


class Assignment(NamedTuple):
    """A task that a launch has claimed for a parked worker. `owner` is the number of that worker."""

    owner: int
    taken: Taken


class Verdict(NamedTuple):
    """The decided outcome of a running task. `text` is the result or the error, and `kind` is the kind of the error."""

    status: TaskStatus
    text: str | None = None
    kind: str | None = None


class Change(NamedTuple):
    """The worker of a task that was to be changed.

    If `held` is true, the worker holds the task. The task was not changed, but the worker was requested to publish it.
    """

    owner: int | None
    held: bool


class Cancelled(NamedTuple):
    """The tasks that are or will be cancelled, their workers, and the workers that hold some of the other tasks."""

    ids: list[str]
    owners: set[int]
    holders: set[int]


class Settled(NamedTuple):
    """The status of a settled task, or None if its claim is no longer in force.

    `frees_others` is true if other tasks may be ready now.
    """

    status: str | None
    frees_others: bool
