"""The formats of exported tasks: the export format (`export`, `import`) and the seed format (`export --seed`).

The seed format is the format of background-manager.json, a file of the design that backburner descends from.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import clock
from ..errors import InvalidInput
from ..mistakes import dotted
from ..model.fields import LIST, OBJECT
from ..model.launch import LAUNCH_FIELDS, LAUNCH_SPECS
from ..model.task import RESULT_LIMIT, TASK_SPECS, Task, TaskStatus, cut
from ..validation import Integer, ListOf, MapOf, Nullable, OneOf, Record, Shape, Text

FORMAT, VERSION = "backburner", 1

#: The error of a task that was running when it was exported.
LOST = "It was running when its state was saved."


class Timestamp(Text):
    """A time in ISO 8601, as text."""

    def __init__(self) -> None:
        super().__init__(expected="a time in ISO 8601")

    def mismatch(self, value: object) -> str | None:
        """Return the expected kind of value, or None if this value is a valid time."""
        if mismatch := super().mismatch(value):
            return mismatch
        try:
            clock.parse(str(value))
        except (ValueError, OverflowError):
            return self.expected
        return None


class Base64(Text):
    """Bytes in base64, as text."""

    def __init__(self) -> None:
        super().__init__(expected="base64")

    def mismatch(self, value: object) -> str | None:
        """Return the expected kind of value, or None if this value can be decoded."""
        if mismatch := super().mismatch(value):
            return mismatch
        try:
            base64.b64decode(str(value), validate=True)
        except binascii.Error:
            return self.expected
        return None


#: The fields that have the same shape as in a launch. A task lacks them, or checks them less strictly.
_FROM_LAUNCH = (
    "model concurrencyKey description parentSessionId parentMessageId call cwd env secretEnv agentArgs stdin timeoutMs"
    " retries uniqueKey afterAny leaveChildren notify metadata"
).split()

#: Fields that are checked less strictly than in a task, because another program may have written them.
_LENIENT: dict[str, Shape[Any]] = {
    "id": Text(max_bytes=200, non_empty=True),
    "agent": Text(max_bytes=1024, non_empty=True),
    "waitingFor": Nullable(Text()),
    "queuedAt": Timestamp(),
    **dict.fromkeys(("startedAt", "completedAt", "notBefore"), Nullable(Timestamp())),
    **dict.fromkeys(("signal", "pid", "slot"), Nullable(Integer())),
    "stdinData": Nullable(Base64()),
}

_FIELDS: dict[str, Shape[Any]] = {
    **{spec.json_name: spec.shape for spec in TASK_SPECS},
    **{name: LAUNCH_FIELDS[name] for name in _FROM_LAUNCH},
    **_LENIENT,
}
_REQUIRED = ("id", "agent", "status", "queuedAt")

#: A saved task, with the fields of its launch.
SAVED_TASK = Record("SavedTask", _FIELDS, _REQUIRED)

#: The exported document: a header, and the tasks.
DOCUMENT = Record(
    "Export",
    {
        "format": OneOf(FORMAT),
        "version": Integer(1, VERSION),
        "log": Nullable(Text()),
        "exportedAt": Nullable(Timestamp()),
        "tasks": ListOf(SAVED_TASK),
    },
    required=("format", "version", "tasks"),
)


@dataclass(frozen=True)
class SavedTask:
    """A saved task, checked: the columns of its two tables, and the tasks that it depends on."""

    row: dict[str, Any]
    input: dict[str, Any]
    stdin_data: bytes | None
    after: tuple[str, ...]
    after_any: tuple[str, ...]
    #: The path of the task in the document, for messages.
    name: str

    @property
    def id(self) -> str:
        """Return the task's ID."""
        return str(self.row["id"])


def read(document: object, cwd: str) -> list[SavedTask]:
    """Return the tasks of a document in either format, oldest first.

    `cwd` is the folder of tasks that have none. Raises InvalidInput with the path of the mistake.
    """
    tasks = document.get("tasks") if isinstance(document, Mapping) else None
    if isinstance(tasks, Mapping):
        by_id = {str(key): _from_seed(task, key) for key, task in tasks.items()}
        checked = MapOf(SAVED_TASK).check(by_id, "tasks")
        return [_saved_task(task, dotted("tasks", key), cwd) for key, task in checked.items()]
    listed = DOCUMENT.check(document)["tasks"]
    return [_saved_task(task, f"tasks[{index}]", cwd) for index, task in enumerate(listed)]


def from_task(task: Task) -> SavedTask:
    """Check a task that a caller has built, and return it as a saved task. Raises InvalidInput."""
    name = dotted("tasks", task.id)
    return _saved_task(SAVED_TASK.check(task.to_json(), name), name, task.cwd)


def _saved_task(fields: Mapping[str, Any], name: str, cwd: str) -> SavedTask:
    status = TaskStatus(fields["status"])
    _require_command_or_call(fields, status, name)
    with_cwd = {**fields, "cwd": fields.get("cwd") or cwd}
    data = fields.get("stdinData")
    return SavedTask(
        row=_task_row(with_cwd, status),
        input=_input_row(with_cwd),
        stdin_data=None if data is None else base64.b64decode(data),
        after=tuple(fields.get("after", ())),
        after_any=tuple(fields.get("afterAny", ())),
        name=name,
    )


def to_export(task: Task, launch_fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task in the export format. `launch_fields` has the fields of its launch that `Task` lacks."""
    return {**task.to_json(), **launch_fields}


def pieces(log: str, tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the document in pieces, one line for each task."""
    header = {"format": FORMAT, "version": VERSION, "log": log, "exportedAt": clock.iso(clock.now())}
    yield json.dumps(header)[:-1] + ', "tasks": ['
    comma = "\n"
    for task in tasks:
        yield comma + json.dumps(task, ensure_ascii=False)
        comma = ",\n"
    yield "\n]}"


def seed_pieces(tasks: Iterable[Task]) -> Iterator[str]:
    """Yield the document in the seed format, which has no null values, in pieces."""
    active_count: dict[str, int] = {}
    comma = ""
    yield '{"tasks": {'
    for task in tasks:
        if task.status is TaskStatus.RUNNING:
            active_count[task.concurrency_key] = active_count.get(task.concurrency_key, 0) + 1
        present = {name: value for name, value in task.to_json().items() if value is not None}
        yield f"{comma}\n{json.dumps(task.id)}: {json.dumps(present, ensure_ascii=False)}"
        comma = ","
    tail = {"activeCount": active_count, "lastUpdated": clock.iso(clock.now())}
    yield "\n}, " + json.dumps(tail)[1:]


def _from_seed(task: object, key: object) -> object:
    """Return the known fields of a task in the seed format, with its key as its ID."""
    if not isinstance(task, Mapping):
        return task
    known = {name: value for name, value in task.items() if name in _FIELDS}
    if not isinstance(known.get("progress"), str | None):  # other programs with this format store an object
        known["progress"] = json.dumps(known["progress"], ensure_ascii=False, default=str)
    return {"id": key, **known}


def _require_command_or_call(fields: Mapping[str, Any], status: TaskStatus, name: str) -> None:
    needed = {"command": "command", "python": "call"}.get(fields["agent"])
    if status is TaskStatus.PENDING and needed is not None and not fields.get(needed):
        raise InvalidInput(f"{name}.{needed}: the agent {fields['agent']} needs it.", field=f"{name}.{needed}")


def _task_row(fields: Mapping[str, Any], status: TaskStatus) -> dict[str, Any]:
    attempts = fields.get("maxAttempts", 1)
    columns = {
        spec.column: spec.column_value(fields)
        for spec in TASK_SPECS
        if spec.table == "tasks" and spec.name not in ("stopping", "pid", "slot")
    }
    return {
        **columns,
        "number": None,
        "key": fields.get("concurrencyKey") or fields.get("model") or fields["agent"],
        "timeout_ms": fields.get("timeoutMs") or None,
        "due_at": columns["not_before"] if status is TaskStatus.PENDING else None,
        "retries": fields.get("retries", max(0, attempts - 1)),
        "max_attempts": attempts,
        "notify": fields.get("notify"),
        **_outcome_columns(fields, status),
    }


def _outcome_columns(fields: Mapping[str, Any], status: TaskStatus) -> dict[str, Any]:
    """Return the columns of a task's outcome. A task that was running when it was saved is lost."""
    lost = status is TaskStatus.RUNNING
    result = cut(fields.get("result"), RESULT_LIMIT)
    return {
        "completed_at": _completed_at(fields, status),
        "status": TaskStatus.ERROR if lost else status,
        "result": None if lost else result,
        "result_truncated": fields.get("resultTruncated", False) or result != fields.get("result"),
        "error": LOST if lost else fields.get("error"),
        "error_kind": _error_kind(fields, status),
    }


def _completed_at(fields: Mapping[str, Any], status: TaskStatus) -> int | None:
    if status is TaskStatus.PENDING:
        return None
    ended_at = None if status is TaskStatus.RUNNING else fields.get("completedAt")
    return clock.now() if ended_at is None else clock.parse(ended_at)


def _error_kind(fields: Mapping[str, Any], status: TaskStatus) -> str | None:
    if status is TaskStatus.RUNNING:
        return "lost"
    kind: str | None = fields.get("errorKind")
    return kind or ("failed" if status is TaskStatus.ERROR else None)


def _input_row(fields: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in fields.items() if value not in ([], {})}
    after = [*fields.get("after", ()), *fields.get("afterAny", ())]
    return {
        **{spec.column: spec.column_value(filled) for spec in (*LAUNCH_SPECS, *TASK_SPECS) if spec.table == "inputs"},
        "after": LIST.dump(list(dict.fromkeys(after))),
        "metadata": OBJECT.dump(filled.get("metadata")),
        "digest": None,
        "stdin_file": None,
    }
