"""What every protocol must tell: how its requests are read, how answers and refusals are written."""

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
        """Whether a path is asked in this protocol."""

    @abstractmethod
    def read(self, path: str, body: dict[str, Any]) -> Request:
        """What a request says."""

    @abstractmethod
    def whole(self, request: Request, answer: str | Call) -> dict[str, Any]:
        """An answer in one piece."""

    @abstractmethod
    def events(self, request: Request, answer: Iterable[str] | Call) -> Iterator[Event]:
        """An answer as a stream; a text comes in pieces."""

    @abstractmethod
    def refusal(self, status: int) -> dict[str, Any]:
        """The body of an error."""

    last = ""
    """What ends a stream of this protocol, if anything."""


REASONS = {401: "invalid api key", 429: "rate limit reached", 500: "internal server error"}


def reason(status: int) -> str:
    """What a refusal says."""
    return f"mock: {REASONS.get(status, 'refused')}"


def flat(content: Any) -> str:
    """The text in a message's content, whatever it is wrapped in."""
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
    """A message as text."""
    return Message(str(role), flat(content))
