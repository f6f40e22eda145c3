"""Show what an agent did in lines for people: its messages and its tool calls, found by the rules of its settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ....ipc.config.agents import AgentConfig
from ....ipc.config.extract import Pointer, document_of, pick, pointer, text_of
from ....ipc.text.screen import one_line, screen_lines
from .sinks import Lines, Sink

#: The members of a tool call that hold its arguments, and the arguments that describe it best.
ARGUMENTS = ("input", "args", "arguments", "parameters", "params", "state")
DESCRIPTIVE = ("command", "cmd", "file_path", "filePath", "path", "pattern", "query", "url", "description", "prompt")

#: The maximum number of characters that are shown of a tool call.
MAX_TOOL = 200
#: The maximum number of bytes of a JSON document that is read as a whole.
MAX_DOCUMENT = 16 * 1024 * 1024

BULLET = "• "


def is_readable(agent: AgentConfig | None) -> bool:
    """Return True if the rules of an agent turn its output into lines for people."""
    return agent is not None and (bool(_rules(agent, "message")) or agent.result.startswith("json:"))


def activity(sink: Sink, agent: AgentConfig) -> Sink:
    """Return a sink that takes the stdout of an agent, and passes on lines for people."""
    return Activity(sink, agent) if _rules(agent, "message") else Answer(sink, agent)


class Activity(Lines):
    """Turns lines of JSON into messages and tool calls. Other lines are passed on without their control characters."""

    def __init__(self, sink: Sink, agent: AgentConfig) -> None:
        super().__init__(sink)
        self._messages, self._tools = _rules(agent, "message"), _rules(agent, "tool")
        self._ends = [pointer(rule) for rule in (agent.result, *agent.error) if rule.startswith("jsonl")]
        #: An agent whose answer is joined from several lines writes its messages in pieces.
        self._joins = agent.result.startswith("jsonl+:")
        self._piece = ""
        self._last = ""

    def take(self, line: bytes) -> None:
        """Pass on a line."""
        text = line.decode(errors="replace").strip("\r\n")
        document = document_of(text) if "{" in text else None
        if not isinstance(document, dict):
            self._show(screen_lines(text))
            return
        messages = [text_of(value) or "" for rule in self._messages for value in rule.values(document)]
        if self._joins and messages:
            self._join("".join(messages))
            return
        self._complete()
        for message in messages:
            self._show_message(message)
        self._show(BULLET + call for rule in self._tools for call in _calls(rule, document))
        for rule in self._ends:
            self._show_message(text_of(rule.last(document)) or "")

    def finish(self) -> None:
        """Pass on the rest."""
        if self._rest:
            self.take(self._rest)
            self._rest = b""
        self._complete()
        super().finish()

    def _join(self, text: str) -> None:
        *lines, self._piece = (self._piece + text).split("\n")
        self._last += text
        self._show(line for text in lines for line in screen_lines(text) or [""])

    def _complete(self) -> None:
        """Show the rest of a message that was written in pieces."""
        if self._piece:
            self._show(screen_lines(self._piece))
        self._piece = ""

    def _show_message(self, message: str) -> None:
        """Show a message, unless it was shown last: the answer at the end repeats the last message."""
        if message.strip() and message.strip() != self._last.strip():
            self._show(screen_lines(message))
            self._last = message

    def _show(self, lines: Any) -> None:
        for line in lines:
            self._sink.write(f"{line}\n".encode(errors="replace"))


class Answer:
    """Takes one JSON document, and passes on the answer in it."""

    def __init__(self, sink: Sink, agent: AgentConfig) -> None:
        self._sink, self._agent = sink, agent
        self._data = b""

    def write(self, data: bytes) -> None:
        """Take further bytes."""
        self._data += data
        if len(self._data) > MAX_DOCUMENT:
            self._sink.write(self._data)
            self._data = b""

    def flush(self) -> None:
        """Pass on what is complete."""
        self._sink.flush()

    def finish(self) -> None:
        """Pass on the rest."""
        if self._data:
            text = self._data.decode(errors="replace")
            answer = text_of(pick(self._agent.result, text))
            lines = screen_lines(text if answer is None else answer)
            self._sink.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))
            self._data = b""
        self._sink.finish()


def _rules(agent: AgentConfig, name: str) -> list[Pointer]:
    return [pointer(rule) for rule in agent.progress.get(name, ())]


def _calls(rule: Pointer, document: Any) -> Iterator[str]:
    """Yield a line for each tool call: «Bash: make test»."""
    for name, owner in rule.owners(document):
        tool = one_line(text_of(name) or "", MAX_TOOL)
        arguments = _arguments(owner) if isinstance(owner, dict) else ""
        yield one_line(f"{tool}: {arguments}" if arguments else tool, MAX_TOOL)


def _arguments(call: dict[str, Any]) -> str:
    """Return the argument that describes a tool call best, or all of them as JSON."""
    given: dict[str, Any] = next((call[name] for name in ARGUMENTS if isinstance(call.get(name), dict)), {})
    if isinstance(given.get("input"), dict):  # of a state
        given = given["input"]
    described = next((text_of(given[name]) for name in DESCRIPTIVE if given.get(name)), None)
    return described or (json.dumps(given, ensure_ascii=False) if given else "")
