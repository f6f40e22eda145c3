"""Tasks as values, and the moves between their statuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import Any

from .. import clock
from ..validation import Anything, Flag, Integer, ListOf, MapOf, Nullable, OneOf, Text
from .fields import FLAG, LIST, OBJECT, PRESENT, TIME, Codec, declared, specs_of

#: The maximum size of a result in the record of a task, and in lists and events, in bytes.
RESULT_LIMIT = 64 * 1024
BRIEF_LIMIT = 4 * 1024


class TaskStatus(StrEnum):
    """The status of a task."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Return True if the task has ended. Only a retry can change the status then."""
        return self in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED)


#: The allowed moves. The table `moves` of the database has the same moves, and a trigger refuses all others.
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

#: The reasons why a task ends in error.
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

#: The reasons why a pending task has not started.
WAITING_FOR = ("slot", "delay", "dependency", "paused", "cap", "supervisor")

#: Fields that lists and events leave out, because they may be large.
INPUTS = frozenset({"prompt", "args", "kwargs", "env_names", "env_dropped"})

_OPTIONAL_TEXT = Nullable(Text())
_NAME = Text(non_empty=True)
_COUNT = Integer(0)
_TIME = Text(
    pattern=r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{3}Z",
    expected="a time: ISO 8601, UTC, milliseconds, Z",
)
#: The shape of a task's ID: `bg-` and a UUID of version 4.
ID = Text(pattern=r"bg-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: Labels by which lists can be filtered.
TAGS = ListOf(Text(pattern=r"[A-Za-z0-9._:/-]{1,64}", expected="1 to 64 of A-Z a-z 0-9 . _ : / -"), max_items=16)
#: The mode bits that new files lack, in octal.
UMASK = Text(pattern=r"0?[0-7]{3}", expected="three octal digits, such as 0022")
_NAMES_OF_VARIABLES = ListOf(Text())
_STATUS = Codec("status", str, TaskStatus, TaskStatus)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as it was when it was read. Times are aware datetimes. The names of durations end in their unit."""

    id: str = declared(ID, stored="tasks.id")
    agent: str = declared(_NAME, stored="tasks.agent")
    concurrency_key: str = declared(_NAME, stored="tasks.key")
    cwd: str = declared(_NAME, stored="inputs.cwd")
    status: TaskStatus = declared(OneOf(*TaskStatus), stored="tasks.status", codec=_STATUS)
    queued_at: datetime = declared(_TIME, stored="tasks.queued_at", codec=TIME)
    parent_session_id: str | None = declared(_OPTIONAL_TEXT, None, "tasks.parent")
    parent_message_id: str | None = declared(_OPTIONAL_TEXT, None, "tasks.message")
    session_id: str | None = declared(_OPTIONAL_TEXT, None, "tasks.session")
    description: str | None = declared(_OPTIONAL_TEXT, None, "tasks.description")
    tags: tuple[str, ...] = declared(TAGS, (), "tasks.tags", LIST)
    prompt: str | None = declared(_OPTIONAL_TEXT, None, "inputs.prompt")
    model: str | None = declared(_OPTIONAL_TEXT, None, "tasks.model")
    command: tuple[str, ...] | None = declared(Nullable(ListOf(Text(), non_empty=True)), None, "inputs.command", LIST)
    call: str | None = declared(_OPTIONAL_TEXT, None, "inputs.call")
    args: tuple[Any, ...] | None = declared(Nullable(ListOf(Anything())), None, "inputs.args", LIST)
    kwargs: Mapping[str, Any] | None = declared(Nullable(MapOf(Anything())), None, "inputs.kwargs", OBJECT)
    stopping: bool = declared(Flag(), False, "tasks.verdict", PRESENT)
    waiting_for: str | None = declared(Nullable(OneOf(*WAITING_FOR)), None)
    priority: int = declared(Integer(-1000, 1000), 0, "tasks.priority")
    started_at: datetime | None = declared(Nullable(_TIME), None, "tasks.started_at", TIME)
    completed_at: datetime | None = declared(Nullable(_TIME), None, "tasks.completed_at", TIME)
    not_before: datetime | None = declared(Nullable(_TIME), None, "tasks.not_before", TIME)
    attempt: int = declared(_COUNT, 0, "tasks.attempt")
    max_attempts: int = declared(Integer(1), 1, "tasks.max_attempts")
    timeout_ms: int | None = declared(Nullable(_COUNT), None, "tasks.timeout_ms")
    unique_key: str | None = declared(_OPTIONAL_TEXT, None, "tasks.unique_key")
    after: tuple[str, ...] = declared(ListOf(Text(non_empty=True)), (), "inputs.after", LIST)
    result: str | None = declared(_OPTIONAL_TEXT, None, "tasks.result")
    result_truncated: bool = declared(Flag(), False, "tasks.result_truncated", FLAG)
    error: str | None = declared(_OPTIONAL_TEXT, None, "tasks.error")
    error_kind: str | None = declared(Nullable(OneOf(*ERROR_KINDS)), None, "tasks.error_kind")
    exit_code: int | None = declared(Nullable(Integer()), None, "tasks.exit_code")
    signal: int | None = declared(Nullable(Integer(1)), None, "tasks.signal")
    pid: int | None = declared(Nullable(Integer(1)), None, "tasks.pid")
    slot: int | None = declared(Nullable(_COUNT), None, "tasks.slot")
    leftovers: int = declared(_COUNT, 0, "tasks.leftovers")
    progress: str | None = declared(_OPTIONAL_TEXT, None, "tasks.progress")
    #: The task that this task continues, in the same session.
    resumes: str | None = declared(_OPTIONAL_TEXT, None, "inputs.resumes")
    metadata: Mapping[str, Any] = declared(MapOf(Anything()), {}, "inputs.metadata", OBJECT)
    #: The mode bits that files of the task lack, in octal. None: those that files of the supervisor lack.
    umask: str | None = declared(Nullable(UMASK), None, "inputs.umask")
    #: The Python that runs the call. None: that of the agent `python`, or that of the supervisor.
    interpreter: str | None = declared(_OPTIONAL_TEXT, None, "inputs.interpreter")
    #: The variables that the launch hands on, with or without a stored value.
    env_names: tuple[str, ...] = declared(_NAMES_OF_VARIABLES, ())
    #: The other variables of the launcher.
    env_dropped: tuple[str, ...] = declared(_NAMES_OF_VARIABLES, (), "inputs.env_dropped", LIST)

    def to_json(self) -> dict[str, Any]:
        """Return all fields, in the shape of `show --json`."""
        return {name: plain(getattr(self, attribute)) for attribute, name in _NAMES}

    def brief(self) -> dict[str, Any]:
        """Return the fields for lists and events: without large inputs, and with at most 4 KiB of the result."""
        document = {name: plain(getattr(self, attribute)) for attribute, name in _BRIEF_NAMES}
        document["result"] = cut(self.result, BRIEF_LIMIT)
        document["resultTruncated"] = self.result_truncated or document["result"] != self.result
        return document

    @classmethod
    def of_all(cls, values: dict[str, Any]) -> Task:
        """Return a task from the values of all its fields."""
        # The constructor of a frozen dataclass sets its fields one by one, which takes 8 us.
        task = object.__new__(cls)
        vars(task).update(values)
        return task

    @classmethod
    def of_columns(cls, values: Mapping[str, Any], waiting_for: str | None) -> Task:
        """Return the task with these column values. The columns of `INPUTS` may be absent."""
        fields = dict(zip(_PLAIN, _plain_columns(values), strict=True))
        for name, column, load in _CODED:
            fields[name] = load(values[column])
        for name, empty in _NEVER_NULL:
            fields[name] = fields[name] or empty()
        for name, column, load in _OPTIONAL:
            fields[name] = load(values.get(column))
        fields["env_names"] = names_in(values.get("launcher_env"), values.get("env"))
        fields["env_dropped"] = fields["env_dropped"] or ()
        fields["waiting_for"] = waiting_for
        return cls.of_all(fields)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """Return the task that `to_json` or `brief` wrote. Raises KeyError, ValueError."""
        given = ((spec, document[spec.json_name]) for spec in TASK_SPECS if spec.json_name in document)
        return cls(**{spec.name: spec.codec.parse(value) for spec, value in given})


TASK_SPECS = specs_of(Task)
_NAMES = tuple((spec.name, spec.json_name) for spec in TASK_SPECS)
_BRIEF_NAMES = tuple((name, json_name) for name, json_name in _NAMES if name not in INPUTS)

_STORED = [spec for spec in TASK_SPECS if spec.table is not None and spec.name not in INPUTS]
_PLAIN = tuple(spec.name for spec in _STORED if spec.codec.name == "plain")
_plain_columns = itemgetter(*(spec.column for spec in _STORED if spec.codec.name == "plain"))
_CODED = tuple((spec.name, spec.column, spec.codec.load) for spec in _STORED if spec.codec.name != "plain")
#: The fields that store an empty value as null, each with the type of that value.
_NEVER_NULL = tuple((spec.name, type(spec.default)) for spec in _STORED if spec.default in ((), {}))
_OPTIONAL = tuple((spec.name, spec.column, spec.codec.load) for spec in TASK_SPECS if spec.name in INPUTS)


@lru_cache(8)  # each environment may be a megabyte
def names_in(launcher: str | None, named: str | None) -> tuple[str, ...]:
    """Return the names of the variables in the columns `launcher_env` and `env`."""
    found = {name for name, value in json.loads(launcher or "{}").items() if value is not None}
    return tuple(sorted(found | json.loads(named or "{}").keys()))


def cut(text: str | None, limit: int) -> str | None:
    """Return at most `limit` bytes of a text, in whole characters. Lone surrogates become `?`."""
    if text is None or (text.isascii() and len(text) <= limit):
        return text
    raw = text.encode(errors="replace")
    return raw[:limit].decode(errors="ignore")


def command_line(command: Sequence[str]) -> str:
    """Return a command on one line. A line of shell is shown without its `sh -c`."""
    return command[2] if len(command) == 3 and [*command[:2]] == ["sh", "-c"] else " ".join(command)


#: The types that need no conversion to JSON. Most values of a task have one of these types.
_JSON_TYPES = frozenset({type(None), str, int, bool, float, TaskStatus})


def plain(value: Any) -> Any:
    """Return the value of a field as JSON."""
    if type(value) in _JSON_TYPES:
        return value
    if isinstance(value, datetime):
        return clock.iso(round(value.timestamp() * 1000))
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value
