"""The interface of a protocol: how its requests are read, and its responses and errors written."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from tests.helpers.model.turns import Call, Message, Request

#: A line of a stream of events: the event's name (or ""), and its JSON.
Event = tuple[str, Any]


class Dialect(ABC):
    """One protocol."""

    @abstractmethod
    def serves(self, path: str) -> bool:
        """Return True if a path belongs to this protocol."""

    @abstractmethod
    def read(self, path: str, body: dict[str, Any]) -> Request:
        """Return a decoded request."""

    @abstractmethod
    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """Return a response in one piece."""

    @abstractmethod
    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """Yield a response as a stream; a text comes in pieces."""

    @abstractmethod
    def refusal(self, status: int) -> dict[str, Any]:
        """Return the body of an error."""

    last = ""
    """The data that ends a stream of this protocol, if any."""


REASONS = {401: "invalid api key", 429: "rate limit reached", 500: "internal server error"}


def reason(status: int) -> str:
    """Return the message of an error."""
    return f"mock: {REASONS.get(status, 'refused')}"


def flat(content: Any) -> str:
    """Return the text in the content of a message, whatever its structure."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(flat, content)))
    if isinstance(content, dict):
        found = (content.get(name) for name in ("text", "content", "output", "parts", "response"))
        return "\n".join(filter(None, map(flat, found))) or _unknown(content)
    return ""


def _unknown(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) if content.keys() & {"functionCall", "result", "error"} else ""


def message(role: Any, content: Any) -> Message:
    """Return a message as text."""
    return Message(str(role), flat(content))
