"""What each agent's client must be told to have the tools and the hooks: its files, and what is added to them."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.parents import jsonc
from supervisor.parents.hooks import CONTEXT, STOP

#: What the tools are called in every client.
NAME = "backburner"
#: Seconds that a client waits for a hook at most.
HOOK_TIMEOUT = 10

Environ = Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """An object's member that is to be there; one that is there already is the user's."""

    path: tuple[str, ...]
    key: str
    value: Any

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError."""
        there = jsonc.found(text, (*self.path, self.key)) is not None
        return text if there else jsonc.add(text, self.path, self.key, self.value)

    def removed(self, text: str) -> str:
        """The text without it."""
        place = (*self.path, self.key)
        return jsonc.remove(text, place) if jsonc.found(text, place) == self.value else text


@dataclass(frozen=True)
class Element:
    """A list's element that is to be there, unless one that does the same is."""

    path: tuple[str, ...]
    value: Any
    #: What shows, in an element's text, that it does the same.
    mark: str

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError."""
        return text if self._places(text) else jsonc.add(text, self.path, None, self.value)

    def removed(self, text: str) -> str:
        """The text without it."""
        places = [place for place, found in self._places(text) if found == self.value]
        return jsonc.remove(text, (*self.path, places[0])) if places else text

    def _places(self, text: str) -> list[tuple[int, Any]]:
        elements = jsonc.found(text, self.path)
        if not isinstance(elements, list):
            return []
        return [(place, found) for place, found in enumerate(elements) if self.mark in str(found)]


@dataclass(frozen=True)
class Table:
    """A table of TOML, at the end of the file."""

    path: tuple[str, ...]
    value: Mapping[str, Any]

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError, where that would be no TOML."""
        if self._found(text):
            return text
        new = f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{self._lines(text)}"
        tomllib.loads(new)
        return new

    def removed(self, text: str) -> str:
        """The text without it."""
        return text.replace(self._lines("x"), "", 1).replace(self._lines(""), "", 1)

    def _found(self, text: str) -> bool:
        document: Any = tomllib.loads(text)
        for name in self.path:
            document = document.get(name) if isinstance(document, dict) else None
        return document is not None

    def _lines(self, before: str) -> str:
        import json

        body = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in self.value.items()]
        return "".join([*(["\n"] if before else []), f"[{'.'.join(self.path)}]\n", *body])


Addition = Member | Element | Table


@dataclass(frozen=True)
class File:
    """One file of a client, and what is added to it."""

    path: Path
    additions: Sequence[Addition]

    def with_ours(self, text: str) -> str:
        """The text with all of it. Raises ValueError."""
        for addition in self.additions:
            text = addition.added(text)
        return text

    def without_ours(self, text: str) -> str:
        """The text without what is exactly as it was added. Raises ValueError."""
        for addition in reversed(self.additions):
            text = addition.removed(text)
        return text


def claude(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Claude Code: the user's servers, and the user's settings."""
    own = environ.get("CLAUDE_CONFIG_DIR")
    folder = Path(own) if own else home / ".claude"
    server = {"type": "stdio", "command": command[0], "args": [*command[1:], "mcp"]}
    servers = File((folder if own else home) / ".claude.json", [Member(("mcpServers",), NAME, server)])
    return [servers, File(folder / "settings.json", _hooks("claude", command, HOOK_TIMEOUT))]


def codex(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Codex: its configuration, and the user's hooks."""
    folder = Path(environ.get("CODEX_HOME") or home / ".codex")
    server = {"command": command[0], "args": [*command[1:], "mcp"]}
    return [
        File(folder / "config.toml", [Table(("mcp_servers", NAME), server)]),
        File(folder / "hooks.json", _hooks("codex", command, HOOK_TIMEOUT)),
    ]


def opencode(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """opencode: the user's configuration; it has no hooks."""
    folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    names = ("opencode.jsonc", "opencode.json")
    path = next((folder / name for name in names if (folder / name).exists()), folder / "opencode.json")
    server = {"type": "local", "command": [*command, "mcp"], "enabled": True}
    return [File(path, [Member(("mcp",), NAME, server)])]


def gemini(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Gemini CLI: the user's settings."""
    server = {"command": command[0], "args": [*command[1:], "mcp"]}
    additions: list[Addition] = [Member(("mcpServers",), NAME, server), *_hooks("gemini", command, 1000 * HOOK_TIMEOUT)]
    return [File(home / ".gemini" / "settings.json", additions)]


CLIENTS = {"claude": claude, "codex": codex, "opencode": opencode, "gemini": gemini}

#: What is left for the user to do.
ADVICE = {
    "codex": "Codex asks you to trust new hooks: answer its question, or look at /hooks.",
}


def _hooks(client: str, command: Sequence[str], timeout: int) -> list[Element]:
    words = shlex.join([*command, "hook", "--client", client])
    hook = {"type": "command", "command": words, "timeout": timeout}
    events = (*CONTEXT[client], STOP[client])
    return [Element(("hooks", event), {"hooks": [hook]}, f"hook --client {client}") for event in events]
