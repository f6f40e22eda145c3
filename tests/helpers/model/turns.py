"""What the model does when it is asked, and what it was asked."""

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
    """Have a tool called, by the name that the client offers it under.

    Codex has namespaces, and custom tools, which take a text instead of arguments.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    text: str = ""


@dataclass(frozen=True)
class Slow:
    """Answer word by word, with a pause of so many seconds before each."""

    text: str
    pause: float = 0.1


@dataclass(frozen=True)
class Fail:
    """Refuse, with an HTTP status: 401, 429, 500; where it says so, until so many seconds have passed."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True)
class Hang:
    """Never answer."""


Turn = Say | Call | Slow | Fail | Hang

#: What a model says when nobody told it what to say.
DEFAULT = Say("pong")

KINDS: dict[str, type[Say | Call | Slow | Fail | Hang]] = {
    "say": Say,
    "call": Call,
    "slow": Slow,
    "fail": Fail,
    "hang": Hang,
}


def turn_of(document: Mapping[str, Any]) -> Turn:
    """The turn that a JSON object tells: `{"kind": "call", "name": "Bash", "arguments": {…}}`."""
    return KINDS[document["kind"]](**{name: value for name, value in document.items() if name != "kind"})


@dataclass(frozen=True)
class Message:
    """One message that reached the model, as text; what tools gave back has the role `tool`."""

    role: str
    text: str


@dataclass(frozen=True)
class Request:
    """One request that reached the model."""

    path: str
    model: str
    stream: bool
    tools: tuple[str, ...]
    messages: tuple[Message, ...]

    def to_json(self) -> dict[str, Any]:
        """As a line of the log."""
        return asdict(self)

    def says(self, text: str) -> int:
        """How often a text stands in the messages."""
        return sum(message.text.count(text) for message in self.messages)

    def is_aside(self) -> bool:
        """Whether a client asks for a title, beside the conversation: that is no turn of it."""
        head = " ".join(message.text for message in self.messages[:2])[:2000].lower()
        return not self.tools and "title" in head


#: Tokens that every answer says it cost.
TOKENS_IN, TOKENS_OUT = 11, 7
