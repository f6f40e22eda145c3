"""The methods of the socket, and the shapes of parameters, results and events, also as one JSON Schema document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.settings import CONFIG
from ..model.edit import EDIT_FIELDS, EDITABLE
from ..model.event import TYPES
from ..model.launch import LAUNCH, LONGEST
from ..model.query import Moment, OneOrMore
from ..model.task import BRIEF_LIMIT, ERROR_KINDS, ID, INPUTS, TAGS, TASK_SPECS, TaskStatus
from ..validation import DIALECT, Flag, Integer, ListOf, Nullable, OneOf, Record, Shape, Text

#: The version of the protocol that `ping` returns.
PROTOCOL = 1

#: The maximum number of bytes of output that one call returns.
MAX_OUTPUT = 1024 * 1024

#: The maximum number of tasks that one call reads or deletes.
MAX_IDS = 1000

#: The largest limit of a key.
LARGEST_LIMIT = 1_000_000


class LimitValue(Shape[int | str]):
    """A number of tasks, or a word: `default` for the configured limit, `unlimited` for none."""

    expected = f"a whole number from 0 to {LARGEST_LIMIT}, default or unlimited"
    _number, _word = Integer(0, LARGEST_LIMIT), OneOf("default", "unlimited")

    def mismatch(self, value: object) -> str | None:
        """Return a description of a valid value, or None."""
        return None if self._number.fits(value) or self._word.fits(value) else self.expected

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {"anyOf": [self._number.schema(), self._word.schema()]}


_ID = Text(max_bytes=1024, non_empty=True)
_NAME = Text(max_bytes=1024, non_empty=True)
#: A limit of a key, as `limit` takes it. 0 is unlimited.
LIMIT = LimitValue()


def _task_params(title: str, **fields: Text) -> Record:
    """Return the parameters of a method that is about one task."""
    return Record(title, {"id": _ID, **fields}, required=("id", *fields))


#: The parameters of every method.
PARAMETERS: Mapping[str, Record] = {
    "launch": LAUNCH,
    "launchMany": Record("launchMany", {"tasks": ListOf(LAUNCH)}, required=("tasks",)),
    "get": Record("get", {"id": Nullable(_ID), "ids": Nullable(ListOf(_ID, max_items=MAX_IDS))}),
    "attempts": _task_params("attempts"),
    "list": Record(
        "list",
        {
            "status": Nullable(OneOrMore(OneOf(*TaskStatus))),
            "parentSessionId": Nullable(_NAME),
            "model": Nullable(_NAME),
            "concurrencyKey": Nullable(_NAME),
            "agent": Nullable(_NAME),
            "tags": Nullable(TAGS),
            "text": Nullable(_NAME),
            "since": Nullable(Moment()),
            "limit": Nullable(Integer(1, 1000)),
            "cursor": Nullable(Text(pattern="[0-9]{1,18}", expected="the `next` of the previous page")),
        },
    ),
    "wait": Record(
        "wait",
        {
            "ids": Nullable(ListOf(_ID)),
            "parentSessionId": Nullable(_NAME),
            "any": Nullable(Flag()),
            "timeoutMs": Nullable(Integer(0, LONGEST)),
        },
    ),
    "cancel": _task_params("cancel"),
    "retry": _task_params("retry"),
    "edit": Record("edit", {"id": _ID, **EDIT_FIELDS}, required=("id",)),
    "remove": Record("remove", {"ids": ListOf(_ID, max_items=MAX_IDS)}, required=("ids",)),
    "pause": Record("pause", {"key": _NAME}, required=("key",)),
    "resume": Record("resume", {"key": _NAME}, required=("key",)),
    "limit": Record("limit", {"key": _NAME, "limit": Nullable(LIMIT)}, required=("key",)),
    "complete": Record("complete", {"id": _ID, "result": Nullable(Text())}, required=("id",)),
    "fail": _task_params("fail", error=Text()),
    "progress": _task_params("progress", text=Text()),
    "output": Record(
        "output",
        {
            "id": _ID,
            "stream": Nullable(OneOf("stdout", "stderr")),
            "offset": Nullable(Integer(0)),
            "limit": Nullable(Integer(1, MAX_OUTPUT)),
            "encoding": Nullable(OneOf("utf-8", "base64")),
        },
        required=("id",),
    ),
    "subscribe": Record(
        "subscribe",
        {
            "parentSessionId": _NAME,
            "after": Nullable(Integer(0)),
            "types": Nullable(ListOf(OneOf(*TYPES))),
            "consumer": Nullable(_NAME),
        },
        required=("parentSessionId",),
    ),
    "unsubscribe": Record(
        "unsubscribe", {"parentSessionId": _NAME, "consumer": Nullable(_NAME)}, required=("parentSessionId",)
    ),
    "ack": Record(
        "ack",
        {"parentSessionId": _NAME, "seq": Integer(0), "consumer": Nullable(_NAME)},
        required=("parentSessionId", "seq"),
    ),
    "adopt": Record("adopt", {"from": _NAME, "to": _NAME}, required=("from", "to")),
    "flush": Record("flush", {"parentSessionId": Nullable(_NAME)}),
    "status": Record("status", {}),
    "ping": Record("ping", {}),
}

SEQ = Integer(0)
COUNT = Integer(0)
ENDED_STATUS = OneOf(*(status for status in TaskStatus if status.ended))
OPTIONAL_TEXT = Nullable(Text())
ERROR_KIND = Nullable(OneOf(*ERROR_KINDS))

TASK_FIELDS: dict[str, Shape[Any]] = {spec.json_name: spec.shape for spec in TASK_SPECS}
TIME = TASK_FIELDS["queuedAt"]
BRIEF_FIELDS = {spec.json_name: spec.shape for spec in TASK_SPECS if spec.name not in INPUTS} | {
    "result": Nullable(Text(max_bytes=BRIEF_LIMIT))
}
#: A task with all its fields.
TASK = Record("Task", TASK_FIELDS, required=TASK_FIELDS)
#: A task as lists and events show it.
BRIEF_TASK = Record("BriefTask", BRIEF_FIELDS, required=BRIEF_FIELDS)
#: The result of `launch`. `existing` is true if the task existed already.
LAUNCHED = Record("LaunchedTask", {**TASK_FIELDS, "existing": Flag()}, required=(*TASK_FIELDS, "existing"))


def _event(type: str, fields: Mapping[str, Shape[Any]]) -> Record:
    head: dict[str, Shape[Any]] = {"seq": SEQ, "type": OneOf(type), "at": TIME, "parentSessionId": OPTIONAL_TEXT}
    return Record(type, {**head, **fields}, required=(*head, *fields))


#: The events that subscribers receive, by type.
EVENTS: Mapping[str, Record] = {
    record.title: record
    for record in (
        _event("background_task_started", {"taskId": ID, "sessionId": OPTIONAL_TEXT, "attempt": COUNT}),
        _event(
            "background_task_completed",
            {
                "taskId": ID,
                "sessionId": OPTIONAL_TEXT,
                "status": ENDED_STATUS,
                "result": BRIEF_FIELDS["result"],
                "error": OPTIONAL_TEXT,
                "errorKind": ERROR_KIND,
            },
        ),
        _event(
            "background_task_retrying",
            {"taskId": ID, "attempt": COUNT, "error": OPTIONAL_TEXT, "errorKind": ERROR_KIND},
        ),
        _event("background_task_stale", {"taskId": ID, "idleMs": COUNT}),
        _event("background_task_progress", {"taskId": ID, "progress": Text(max_bytes=BRIEF_LIMIT)}),
        _event("background_task_changed", {"taskId": ID, "fields": ListOf(OneOf(*EDITABLE), non_empty=True)}),
        _event(
            "background_tasks_batch",
            {
                "tasks": ListOf(BRIEF_TASK, non_empty=True),
                "count": Integer(1),
                "completedCount": COUNT,
                "failedCount": COUNT,
                "cancelledCount": COUNT,
                "allComplete": Flag(),
                "message": Text(non_empty=True),
            },
        ),
        _event("log_truncated", {"firstSeq": SEQ}),
    )
}


def _record(title: str, **fields: Shape[Any]) -> Record:
    """Return a record whose fields are all required."""
    return Record(title, fields, required=fields)


_KEY = _record("Key", key=Text(), limit=COUNT, running=COUNT, pending=COUNT, paused=Flag())

_ATTEMPT = _record(
    "Attempt",
    attempt=Integer(1),
    startedAt=TIME,
    endedAt=Nullable(TIME),
    status=OneOf(*TaskStatus),
    error=OPTIONAL_TEXT,
    errorKind=ERROR_KIND,
    exitCode=Nullable(Integer()),
    signal=Nullable(Integer(1)),
)

_PROCESS = Nullable(_record("Process", pid=Integer(1), version=OPTIONAL_TEXT))

#: The result of `status`.
STATUS_DOCUMENT = _record(
    "Status",
    supervisor=Nullable(_record("Supervisor", pid=Integer(1), version=OPTIONAL_TEXT, startedAt=Nullable(TIME))),
    flusher=_PROCESS,
    forkServer=_PROCESS,
    workers=ListOf(
        _record(
            "Worker",
            pid=Integer(1),
            concurrencyKey=OPTIONAL_TEXT,
            slot=Nullable(COUNT),
            taskId=Nullable(ID),
            adopted=Flag(),
            version=OPTIONAL_TEXT,
        )
    ),
    keys=ListOf(_KEY),
    log=_record("Log", id=OPTIONAL_TEXT, lastSeq=SEQ, unbatched=COUNT),
    home=Text(),
    movedFrom=OPTIONAL_TEXT,
    sizeBytes=COUNT,
    socket=Text(),
    version=Text(),
    sqlite=Text(),
)


class GetResult(Record):
    """A task for `id`, or a list of tasks for `ids`."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of both."""
        tasks = _record("tasks", tasks=ListOf(Nullable(TASK)))
        return {"anyOf": [TASK.schema(), tasks.schema()]}


GET_RESULT = GetResult("get", {**TASK_FIELDS, "tasks": ListOf(Nullable(TASK))})

#: The results of the methods.
RESULTS: Mapping[str, Record] = {
    "launch": LAUNCHED,
    "launchMany": _record("launchMany", ids=ListOf(ID)),
    "list": _record("list", tasks=ListOf(BRIEF_TASK), next=OPTIONAL_TEXT),
    "wait": _record("wait", tasks=ListOf(BRIEF_TASK), timedOut=Flag()),
    **{name: TASK for name in ("cancel", "retry", "edit", "complete", "fail", "progress")},
    "get": GET_RESULT,
    "attempts": _record("attempts", attempts=ListOf(_ATTEMPT)),
    "remove": _record("remove", ids=ListOf(ID)),
    **{name: _KEY for name in ("pause", "resume", "limit")},
    "output": _record("output", data=Text(), offset=COUNT, eof=Flag()),
    "ack": _record("ack", seq=SEQ),
    "adopt": _record("adopt", tasks=COUNT, notices=COUNT),
    "flush": _record("flush"),
    "subscribe": _record("subscribe", seq=SEQ, log=Text()),
    "unsubscribe": _record("unsubscribe", ended=Flag()),
    "ping": _record("ping", version=Text(), protocol=Integer(PROTOCOL, PROTOCOL), home=Text(), pid=Integer(1)),
    "status": STATUS_DOCUMENT,
}


def document() -> dict[str, Any]:
    """Return the JSON Schema document of `backburner schema`, with shapes under `$defs` and methods by name."""
    named = (TASK, BRIEF_TASK, LAUNCH, CONFIG, STATUS_DOCUMENT)
    shapes = {record.title: record.schema() for record in named} | _events()
    return {
        "$schema": DIALECT,
        "title": "backburner",
        "$defs": shapes,
        "methods": {name: _method(name, params) for name, params in PARAMETERS.items()},
    }


def _events() -> dict[str, Any]:
    schemas = {name: record.schema() for name, record in EVENTS.items()}
    return schemas | {"Event": {"title": "Event", "oneOf": [{"$ref": f"#/$defs/{name}"} for name in schemas]}}


def _method(name: str, params: Record) -> dict[str, Any]:
    return {"params": params.schema(), "result": RESULTS[name].schema()}
