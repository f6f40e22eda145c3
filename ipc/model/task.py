"""Tasks as pure values, and the state machine they live in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from .. import clock
from ..validation import Anything, Flag, Integer, ListOf, MapOf, Nullable, Record, Shape, Text

#: The longest result that is kept in the record, and the longest in lists and events, in bytes.
RESULT_LIMIT = 64 * 1024
BRIEF_LIMIT = 4 * 1024

#: The largest LaunchInput, in bytes of JSON.
INPUT_LIMIT = 1024 * 1024

#: A wait, a delay or a timeout longer than this many milliseconds (about 31 years) is a mistake of the caller's.
LONGEST = 10**12


class TaskStatus(StrEnum):
    """Where a task is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether the task is over, unless it is retried by hand."""
        return self in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED)


#: Every move a task can make. The table `moves` of the database holds the same, and refuses all others.
MOVES: frozenset[tuple[TaskStatus, TaskStatus]] = frozenset(
    {
        (TaskStatus.PENDING, TaskStatus.RUNNING),
        (TaskStatus.PENDING, TaskStatus.CANCELLED),
        (TaskStatus.PENDING, TaskStatus.ERROR),
        (TaskStatus.RUNNING, TaskStatus.COMPLETED),
        (TaskStatus.RUNNING, TaskStatus.ERROR),
        (TaskStatus.RUNNING, TaskStatus.CANCELLED),
        (TaskStatus.RUNNING, TaskStatus.PENDING),
        (TaskStatus.ERROR, TaskStatus.PENDING),
        (TaskStatus.CANCELLED, TaskStatus.PENDING),
    }
)

#: Why a task ended in error.
ERROR_KINDS = (
    "failed",
    "exit",
    "signal",
    "timeout",
    "stalled",
    "lost",
    "interrupted",
    "expired",
    "dependency",
    "spawn",
)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One unit of background work, as it was when it was read. Times are aware datetimes; durations say their unit."""

    id: str
    agent: str
    concurrency_key: str
    cwd: str
    status: TaskStatus
    queued_at: datetime
    parent_session_id: str | None = None
    parent_message_id: str | None = None
    session_id: str | None = None
    description: str | None = None
    prompt: str | None = None
    model: str | None = None
    command: tuple[str, ...] | None = None
    call: str | None = None
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] | None = None
    stopping: bool = False
    waiting_for: str | None = None
    priority: int = 0
    started_at: datetime | None = None
    completed_at: datetime | None = None
    not_before: datetime | None = None
    attempt: int = 0
    max_attempts: int = 1
    timeout_ms: int | None = None
    unique_key: str | None = None
    after: tuple[str, ...] = ()
    result: str | None = None
    result_truncated: bool = False
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    pid: int | None = None
    slot: int | None = None
    leftovers: int = 0
    progress: str | None = None
    #: The task in whose session it goes on.
    resumes: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything, in the shape of `show --json`."""
        return {name: _plain(getattr(self, attribute)) for attribute, name in _TASK_NAMES}

    def brief(self) -> dict[str, Any]:
        """The shape of lists and events: without the inputs, and with a result of at most 4 KiB."""
        document = {
            name: _plain(getattr(self, attribute))
            for attribute, name in _TASK_NAMES
            if attribute not in ("prompt", "args", "kwargs")
        }
        document["result"] = cut(self.result, BRIEF_LIMIT)
        document["resultTruncated"] = self.result_truncated or document["result"] != self.result
        return document

    @classmethod
    def of_all(cls, values: dict[str, Any]) -> Task:
        """Return the task with these values of all its fields. A frozen dataclass sets its fields one by one: 8 us."""
        task = object.__new__(cls)
        vars(task).update(values)
        return task

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """The task that `to_json` or `brief` wrote. Raises KeyError, ValueError."""
        found = {attribute: document[name] for attribute, name in _TASK_NAMES if name in document}
        for name in ("queued_at", "started_at", "completed_at", "not_before"):
            found[name] = clock.to_datetime(clock.parse(found[name])) if found.get(name) else None
        for name in ("command", "args", "after"):
            found[name] = None if found.get(name) is None else tuple(found[name])
        found["after"] = found["after"] or ()
        return cls(**{**found, "status": TaskStatus(found["status"])})


def cut(text: str | None, limit: int) -> str | None:
    """At most `limit` bytes of a text, without half a character at its end; what is no character becomes `?`."""
    if text is None or (text.isascii() and len(text) <= limit):
        return text
    raw = text.encode(errors="replace")
    return raw[:limit].decode(errors="ignore")


def camel(name: str) -> str:
    """`parent_session_id` → `parentSessionId`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


#: Types whose values are JSON as they are: most of a task, and so asked for first.
_ATOMS = frozenset({type(None), str, int, bool, float, TaskStatus})


def _plain(value: Any) -> Any:
    if type(value) in _ATOMS:
        return value
    if isinstance(value, datetime):
        return clock.iso(round(value.timestamp() * 1000))
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value


_TASK_NAMES = tuple((entry.name, camel(entry.name)) for entry in fields(Task))

_NAME = Text(max_bytes=1024, non_empty=True)

#: `*` means all parents, and so is nobody's name.
_PARENT = Text(max_bytes=1024, pattern=r"(?!\*\Z)[\s\S]+", expected="a name other than *")

#: What a launch may say, and what is said to one who says something else.
LAUNCH_FIELDS: dict[str, Shape[Any]] = {
    "id": Text(pattern=r"bg-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
    "prompt": Nullable(Text()),
    "resume": Nullable(Text(non_empty=True)),
    "agent": Nullable(_NAME),
    "model": Nullable(_NAME),
    "concurrencyKey": Nullable(_NAME),
    "description": Nullable(Text()),
    "parentSessionId": Nullable(_PARENT),
    "parentMessageId": Nullable(_NAME),
    "command": Nullable(ListOf(Text(), non_empty=True)),
    "call": Nullable(Text(pattern=r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")),
    "args": Nullable(ListOf(Anything())),
    "kwargs": Nullable(MapOf(Anything())),
    "cwd": Nullable(Text(non_empty=True)),
    "env": Nullable(MapOf(Nullable(Text()), key=Text(pattern="[^=]+", expected="a name without ="))),
    "stdin": Nullable(Text()),
    "stdinFile": Nullable(Text(non_empty=True)),
    "priority": Integer(-1000, 1000),
    "delayMs": Integer(0, LONGEST),
    "timeoutMs": Nullable(Integer(0, LONGEST)),
    "retries": Integer(0, 1000),
    "uniqueKey": Nullable(_NAME),
    "after": ListOf(Text(non_empty=True)),
    "afterAny": ListOf(Text(non_empty=True)),
    "leaveChildren": Nullable(Flag()),
    "metadata": Nullable(MapOf(Anything())),
}
LAUNCH = Record("LaunchInput", LAUNCH_FIELDS)


@dataclass(frozen=True, kw_only=True)
class LaunchInput:
    """What is to be launched. `None` means: as the configuration says, or nothing."""

    id: str | None = None
    prompt: str | None = None
    #: The ended task in whose session the prompt is to be answered.
    resume: str | None = None
    agent: str | None = None
    model: str | None = None
    concurrency_key: str | None = None
    description: str | None = None
    parent_session_id: str | None = None
    parent_message_id: str | None = None
    command: tuple[str, ...] | None = None
    call: str | None = None
    args: tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] | None = None
    cwd: str | None = None
    env: Mapping[str, str | None] | None = None
    stdin: str | None = None
    stdin_file: str | None = None
    priority: int = 0
    delay_ms: int = 0
    timeout_ms: int | None = None
    retries: int = 0
    unique_key: str | None = None
    after: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()
    leave_children: bool | None = None
    metadata: Mapping[str, Any] | None = None

    @classmethod
    def of_checked(cls, values: Mapping[str, Any]) -> LaunchInput:
        """Return the launch with these values, which are right, and the defaults of all others; see `Task.of_all`."""
        launch = object.__new__(cls)
        vars(launch).update(_LAUNCH_DEFAULTS, **values)
        return launch

    @classmethod
    def from_json(cls, document: object, where: str = "") -> LaunchInput:
        """Read the socket's shape. Raises InvalidInput, naming the field."""
        checked = LAUNCH.check(document, where)
        found = {attribute: checked[name] for attribute, name in _LAUNCH_NAMES if name in checked}
        for name in ("command", "args", "after", "after_any"):
            if found.get(name) is not None:
                found[name] = tuple(found[name])
        return cls.of_checked(found)

    def to_json(self) -> dict[str, Any]:
        """The socket's shape, without what was not said."""
        said = vars(self)
        given = ((name, said[attribute]) for attribute, name in _LAUNCH_NAMES if said[attribute] is not None)
        return {name: _plain(value) for name, value in given if value not in ((), [])}


_LAUNCH_DEFAULTS = {entry.name: entry.default for entry in fields(LaunchInput)}
_LAUNCH_NAMES = tuple((entry.name, camel(entry.name)) for entry in fields(LaunchInput))
