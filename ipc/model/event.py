"""Events: what is told, and the bus that hands it to listeners in this process."""

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

#: Stands for all sessions, so no session has that name.
EVERYONE = "*"

#: The type to subscribe to for events of every type.
EVERY = "*"

#: The consumer that the hooks and the MCP server of a session share: its cursor marks what the model has read.
MODEL = "model"

#: All that subscribers can be told.
TYPES = (
    "background_task_started",
    "background_task_completed",
    "background_task_retrying",
    "background_task_stale",
    "background_task_progress",
    "background_tasks_batch",
    "log_truncated",
)

_OWN_FIELDS = frozenset({"seq", "type", "at", "parentSessionId"})


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the event log. `at` is aware; `data` holds what is special to the type."""

    seq: int
    type: str
    at: datetime
    parent_session_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Event:
        """Read the shape that the socket sends. Raises KeyError, ValueError, TypeError."""
        return cls(
            seq=document["seq"],
            type=document["type"],
            at=clock.to_datetime(clock.parse(document["at"])),
            parent_session_id=document["parentSessionId"],
            data={name: value for name, value in document.items() if name not in _OWN_FIELDS},
        )

    def to_json(self) -> dict[str, Any]:
        """The shape that the socket sends."""
        return {
            "seq": self.seq,
            "type": self.type,
            "at": clock.iso(round(self.at.timestamp() * 1000)),
            "parentSessionId": self.parent_session_id,
            **self.data,
        }


#: What surrounds the params of a notification on the socket.
_PARAMS, _END = b',"params":', b"}\n"


class EventBus:
    """Hands each payload to those who asked for its type, on the thread of the one who dispatches it."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._handlers: dict[str, dict[object, Handler]] = {}
        self._lock = threading.Lock()

    def subscribe(self, type: str, handler: Handler) -> Callable[[], None]:
        """Have `handler(payload)` called for each event of a type; `*` is every type, its payload says which.

        Returns a function that ends this; to call it again does nothing.
        """
        ticket = object()
        with self._lock:
            self._handlers.setdefault(type, {})[ticket] = handler

        def unsubscribe() -> None:
            with self._lock:
                self._handlers.get(type, {}).pop(ticket, None)

        return unsubscribe

    def dispatch(self, type: str, payload: Payload) -> None:
        """Call the handlers, oldest first; one that raises is logged and changes nothing for the others."""
        if self._handlers:
            self._tell(type, payload)
            self._tell(EVERY, {"type": type, **payload})

    def _tell(self, type: str, payload: Payload) -> None:
        with self._lock:
            listening = self._handlers.get(type, {})
            tickets = list(listening)
        for ticket in tickets:
            if handler := listening.get(ticket):  # one before it may have removed it
                _call(handler, payload)


def _call(handler: Handler, payload: Payload) -> None:
    try:
        handler(payload)
    except Exception:
        import logging  # most never need it

        logging.getLogger("backburner").exception("a handler of events failed")


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
        """Return the sentence of a batch; it is empty for all other events."""
        return str(json.loads(self.text).get("message", ""))
