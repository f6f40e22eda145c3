"""The turns of the model, and the requests that it received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Say:
    """Answer with a text."""

    text: str


@dataclass(frozen=True)
class Call:
    """Call a tool by the name under which the client offers it.

    Codex has namespaces, and custom tools, which take a text instead of arguments.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    text: str = ""


@dataclass(frozen=True)
class Slow:
    """Answer word by word, with a pause in seconds before each."""

    text: str
    pause: float = 0.1


@dataclass(frozen=True)
class Fail:
    """Answer with an HTTP status such as 401, 429 or 500, and perhaps a Retry-After header in seconds."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Hang:
    """Never answer."""


Turn = Say | Call | Slow | Fail | Hang

#: The turn of a model without a script.
DEFAULT = Say("pong")

KINDS: dict[str, type[Say | Call | Slow | Fail | Hang]] = {
    "say": Say,
    "call": Call,
    "slow": Slow,
    "fail": Fail,
    "hang": Hang,
}


def turn_of(document: Mapping[str, Any]) -> Turn:
    """Return a turn from JSON such as `{"kind": "call", "name": "Bash", "arguments": {…}}`."""
    return KINDS[document["kind"]](**{name: value for name, value in document.items() if name != "kind"})


@dataclass(frozen=True)
class Message:
    """A message that the model received, as text; results of tools have the role `tool`."""

    role: str
    text: str


@dataclass(frozen=True)
class Request:
    """A request that the model received."""

    path: str
    model: str
    stream: bool
    tools: tuple[str, ...]
    messages: tuple[Message, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the request as it is logged."""
        return asdict(self)

    def count(self, text: str) -> int:
        """Return how often a text occurs in the messages."""
        return sum(message.text.count(text) for message in self.messages)

    def is_aside(self) -> bool:
        """Return True if the client asks for a title, which is not part of the conversation."""
        head = " ".join(message.text for message in self.messages[:2])[:2000].lower()
        return not self.tools and "title" in head


#: The tokens that every response reports.
TOKENS_IN, TOKENS_OUT = 11, 7
