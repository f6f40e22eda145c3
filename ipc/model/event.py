"""Events, and the bus that passes them to handlers in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from .. import clock

Payload = Mapping[str, Any]
Handler = Callable[[Payload], object]

#: Stands for all sessions. Sessions with this name are not allowed.
ALL_SESSIONS = "*"

#: The consumer of a reader that names none.
DEFAULT_CONSUMER = "default"

#: Stands for events of all types in a subscription.
ALL_TYPES = "*"

#: The consumer that the hooks and the MCP server of a session share. Its cursor marks what the model has read.
MODEL = "model"

STARTED, ENDED, TRUNCATED = "background_task_started", "background_task_completed", "log_truncated"

#: The type of a batch.
BATCH = "background_tasks_batch"

#: The types of events that subscribers receive.
TYPES = (
    STARTED,
    ENDED,
    "background_task_retrying",
    "background_task_stale",
    "background_task_progress",
    "background_task_changed",
    BATCH,
    TRUNCATED,
)

_OWN_FIELDS = frozenset({"seq", "type", "at", "parentSessionId"})


@dataclass(frozen=True, kw_only=True)
class Event:
    """An entry of the event log. `at` has a time zone, and `data` holds the fields that depend on the type."""

    seq: int
    type: str
    at: datetime
    parent_session_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Event:
        """Read an event as the socket sends it. Raises KeyError, ValueError, TypeError."""
        return cls(
            seq=document["seq"],
            type=document["type"],
            at=clock.to_datetime(clock.parse(document["at"])),
            parent_session_id=document["parentSessionId"],
            data={name: value for name, value in document.items() if name not in _OWN_FIELDS},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the event as the socket sends it."""
        return {
            "seq": self.seq,
            "type": self.type,
            "at": clock.iso(round(self.at.timestamp() * 1000)),
            "parentSessionId": self.parent_session_id,
            **self.data,
        }


def log_truncated(parent: str | None, first: int) -> Event:
    """Return the event that reports that all events before the number `first` are deleted.

    A reader that continues after the `seq` of this event misses no further events.
    """
    at = clock.to_datetime(clock.now())
    return Event(seq=first - 1, type=TRUNCATED, at=at, parent_session_id=parent, data={"firstSeq": first})


#: The bytes before and after the params of a notification on the socket.
_PARAMS, _END = b',"params":', b"}\n"


class EventBus:
    """Calls the handlers of an event's type, on the thread that dispatches the event."""

    def __init__(self) -> None:
        """Start without handlers."""
        self._handlers: dict[str, dict[object, Handler]] = {}
        self._lock = threading.Lock()

    def subscribe(self, type: str, handler: Handler) -> Callable[[], None]:
        """Call `handler(payload)` for each event of a type. `*` stands for all types, and adds `type` to the payload.

        Return a function that ends the subscription. Calling it again does nothing.
        """
        ticket = object()
        with self._lock:
            self._handlers.setdefault(type, {})[ticket] = handler

        def unsubscribe() -> None:
            with self._lock:
                self._handlers.get(type, {}).pop(ticket, None)

        return unsubscribe

    def dispatch(self, type: str, payload: Payload) -> None:
        """Call the handlers, oldest first. If a handler raises an exception, log it and call the others."""
        if self._handlers:
            self._call_handlers(type, payload)
            self._call_handlers(ALL_TYPES, {"type": type, **payload})

    def _call_handlers(self, type: str, payload: Payload) -> None:
        with self._lock:
            handlers = self._handlers.get(type, {})
            tickets = list(handlers)
        for ticket in tickets:
            if handler := handlers.get(ticket):  # an earlier handler may have removed it
                _call(handler, payload)


def _call(handler: Handler, payload: Payload) -> None:
    try:
        handler(payload)
    except Exception:
        import logging  # not needed unless a handler fails

        logging.getLogger("backburner").exception("an event handler failed")


def frame_of(type: str, event: Mapping[str, Any]) -> bytes:
    """Return the JSON-RPC notification of an event."""
    head = b'{"jsonrpc":"2.0","method":' + json.dumps(type).encode()
    return head + _PARAMS + json.dumps(event, ensure_ascii=False).encode(errors="replace") + _END


class Line(NamedTuple):
    """An event of the log. Its frame is the JSON-RPC notification that subscribers receive."""

    seq: int
    type: str
    parent: str | None
    frame: bytes

    @property
    def text(self) -> str:
        """Return the event as a JSON object."""
        return self.frame[self.frame.index(_PARAMS) + len(_PARAMS) : -len(_END)].decode()

    @property
    def message(self) -> str:
        """Return the message of a batch. It is empty for all other events."""
        return str(json.loads(self.text).get("message", ""))
