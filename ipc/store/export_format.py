"""Tasks in files: the format of `export` and `import`, and the seed's background-manager.json."""

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


class Moment(Text):
    """A time in ISO 8601."""

    def __init__(self) -> None:
        super().__init__(expected="a time in ISO 8601")

    def mismatch(self, value: object) -> str | None:
        """Return what was expected if the value is not a readable time."""
        if mismatch := super().mismatch(value):
            return mismatch
        try:
            clock.parse(str(value))
        except (ValueError, OverflowError):
            return self.expected
        return None


class Base64(Text):
    """Bytes as text."""

    def __init__(self) -> None:
        super().__init__(expected="base64")

    def mismatch(self, value: object) -> str | None:
        """Return what was expected if the value cannot be decoded."""
        if mismatch := super().mismatch(value):
            return mismatch
        try:
            base64.b64decode(str(value), validate=True)
        except binascii.Error:
            return self.expected
        return None


#: The fields of a launch that a task does not have, or has with weaker rules.
_LAUNCHED = (
    "model concurrencyKey description parentSessionId parentMessageId call cwd env stdin timeoutMs retries uniqueKey"
    " afterAny leaveChildren metadata"
).split()

#: Fields with weaker rules, because another program may have written them.
_LOOSE: dict[str, Shape[Any]] = {
    "id": Text(max_bytes=200, non_empty=True),
    "agent": Text(max_bytes=1024, non_empty=True),
    "waitingFor": Nullable(Text()),
    "queuedAt": Moment(),
    **dict.fromkeys(("startedAt", "completedAt", "notBefore"), Nullable(Moment())),
    **dict.fromkeys(("signal", "pid", "slot"), Nullable(Integer())),
    "stdinData": Nullable(Base64()),
}

_FIELDS: dict[str, Shape[Any]] = {
    **{one.json_name: one.shape for one in TASK_SPECS},
    **{name: LAUNCH_FIELDS[name] for name in _LAUNCHED},
    **_LOOSE,
}
_REQUIRED = ("id", "agent", "status", "queuedAt")

#: A saved task: its fields, and those of its launch.
SAVED_TASK = Record("SavedTask", _FIELDS, _REQUIRED)

#: The document: its head and its tasks.
DOCUMENT = Record(
    "Export",
    {
        "format": OneOf(FORMAT),
        "version": Integer(1, VERSION),
        "log": Nullable(Text()),
        "exportedAt": Nullable(Moment()),
        "tasks": ListOf(SAVED_TASK),
    },
    required=("format", "version", "tasks"),
)


@dataclass(frozen=True)
class Saved:
    """A saved task, checked: the columns of its two tables, and the tasks that it comes after."""

    row: dict[str, Any]
    input: dict[str, Any]
    stdin_data: bytes | None
    after: tuple[str, ...]
    after_any: tuple[str, ...]
    #: The path of the task in messages about the document.
    name: str

    @property
    def id(self) -> str:
        """Return the task's ID."""
        return str(self.row["id"])


def read(document: object, cwd: str) -> list[Saved]:
    """Return the tasks of an exported document, or of one of the seed, oldest first.

    `cwd` is the folder of tasks that have none. Raises InvalidInput with the path of what is wrong.
    """
    tasks = document.get("tasks") if isinstance(document, Mapping) else None
    if isinstance(tasks, Mapping):
        known = {str(key): _of_the_seed(task, key) for key, task in tasks.items()}
        checked = MapOf(SAVED_TASK).check(known, "tasks")
        return [_saved(task, dotted("tasks", key), cwd) for key, task in checked.items()]
    listed = DOCUMENT.check(document)["tasks"]
    return [_saved(task, f"tasks[{place}]", cwd) for place, task in enumerate(listed)]


def saved(task: Task) -> Saved:
    """Check a task that a program made. Raises InvalidInput."""
    name = dotted("tasks", task.id)
    return _saved(SAVED_TASK.check(task.to_json(), name), name, task.cwd)


def _saved(found: Mapping[str, Any], name: str, cwd: str) -> Saved:
    status = TaskStatus(found["status"])
    _refuse_without_work(found, status, name)
    complete = {**found, "cwd": found.get("cwd") or cwd}
    data = found.get("stdinData")
    return Saved(
        row=_row(complete, status),
        input=_input(complete),
        stdin_data=None if data is None else base64.b64decode(data),
        after=tuple(found.get("after", ())),
        after_any=tuple(found.get("afterAny", ())),
        name=name,
    )


def document_of(task: Task, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task as it is saved; `more` has the fields of its launch that a task does not have."""
    return {**task.to_json(), **more}


def pieces(log: str, tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the document in pieces, one line for each task."""
    head = {"format": FORMAT, "version": VERSION, "log": log, "exportedAt": clock.iso(clock.now())}
    yield json.dumps(head)[:-1] + ', "tasks": ['
    comma = "\n"
    for task in tasks:
        yield comma + json.dumps(task, ensure_ascii=False)
        comma = ",\n"
    yield "\n]}"


def seed_pieces(tasks: Iterable[Task]) -> Iterator[str]:
    """Yield the document of the seed, which has no null values, in pieces."""
    active: dict[str, int] = {}
    comma = ""
    yield '{"tasks": {'
    for task in tasks:
        if task.status is TaskStatus.RUNNING:
            active[task.concurrency_key] = active.get(task.concurrency_key, 0) + 1
        present = {name: value for name, value in task.to_json().items() if value is not None}
        yield f"{comma}\n{json.dumps(task.id)}: {json.dumps(present, ensure_ascii=False)}"
        comma = ","
    tail = {"activeCount": active, "lastUpdated": clock.iso(clock.now())}
    yield "\n}, " + json.dumps(tail)[1:]


def _of_the_seed(task: object, key: object) -> object:
    """Return the known fields of a task of the seed, whose ID is its key."""
    if not isinstance(task, Mapping):
        return task
    known = {name: value for name, value in task.items() if name in _FIELDS}
    if not isinstance(known.get("progress"), str | None):  # some programs of the same format have an object here
        known["progress"] = json.dumps(known["progress"], ensure_ascii=False, default=str)
    return {"id": key, **known}


def _refuse_without_work(found: Mapping[str, Any], status: TaskStatus, name: str) -> None:
    needed = {"command": "command", "python": "call"}.get(found["agent"])
    if status is TaskStatus.PENDING and needed is not None and not found.get(needed):
        raise InvalidInput(f"{name}.{needed}: the agent {found['agent']} needs it.", field=f"{name}.{needed}")


def _row(found: Mapping[str, Any], status: TaskStatus) -> dict[str, Any]:
    attempts = found.get("maxAttempts", 1)
    shown = {
        one.column: one.column_value(found) for one in TASK_SPECS if one.table == "tasks" and one.name != "stopping"
    }
    del shown["pid"], shown["slot"]
    return {
        **shown,
        "number": None,
        "key": found.get("concurrencyKey") or found.get("model") or found["agent"],
        "timeout_ms": found.get("timeoutMs") or None,
        "due_at": shown["not_before"] if status is TaskStatus.PENDING else None,
        "retries": found.get("retries", max(0, attempts - 1)),
        "max_attempts": attempts,
        **_end_of(found, status),
    }


def _end_of(found: Mapping[str, Any], status: TaskStatus) -> dict[str, Any]:
    """Return how the task ended; one that was running when it was saved is lost."""
    lost = status is TaskStatus.RUNNING
    kept = cut(found.get("result"), RESULT_LIMIT)
    return {
        "completed_at": _end(found, status),
        "status": TaskStatus.ERROR if lost else status,
        "result": None if lost else kept,
        "result_truncated": found.get("resultTruncated", False) or kept != found.get("result"),
        "error": LOST if lost else found.get("error"),
        "error_kind": _kind(found, status),
    }


def _end(found: Mapping[str, Any], status: TaskStatus) -> int | None:
    if status is TaskStatus.PENDING:
        return None
    ended_at = None if status is TaskStatus.RUNNING else found.get("completedAt")
    return clock.now() if ended_at is None else clock.parse(ended_at)


def _kind(found: Mapping[str, Any], status: TaskStatus) -> str | None:
    if status is TaskStatus.RUNNING:
        return "lost"
    kind: str | None = found.get("errorKind")
    return kind or ("failed" if status is TaskStatus.ERROR else None)


def _input(found: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in found.items() if value not in ([], {})}
    after = [*found.get("after", ()), *found.get("afterAny", ())]
    return {
        **{one.column: one.column_value(filled) for one in (*LAUNCH_SPECS, *TASK_SPECS) if one.table == "inputs"},
        "after": LIST.dump(list(dict.fromkeys(after))),
        "metadata": OBJECT.dump(filled.get("metadata")),
        "digest": None,
        "stdin_file": None,
    }
