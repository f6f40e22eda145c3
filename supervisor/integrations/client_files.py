"""The configuration files of each agent's client, and the entries that add backburner's tools and hooks."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .formats import Document, Edit, edit_json, edit_toml
from .hooks import CONTEXT, STOP

#: The name of the MCP server in every client.
NAME = "backburner"
#: Seconds after which a client gives up on a hook.
HOOK_TIMEOUT = 10

Environ = Mapping[str, str]


@dataclass(frozen=True)
class Server:
    """The entry of the MCP server. An existing entry is kept, but the path of a moved installation is updated."""

    path: tuple[str, ...]
    value: Mapping[str, Any]

    def add(self, document: Document) -> None:
        """Add the entry to the document. Raises ValueError."""
        servers = document
        for name in self.path:
            servers = _child(servers, name, dict)
        existing = servers.get(NAME)
        servers[NAME] = dict(self.value) if existing is None else _updated(existing, self.value)

    def remove(self, document: Document) -> None:
        """Remove the entry from the document, unless the user has changed it."""
        if _updated(_find(document, (*self.path, NAME)), self.value) == self.value:
            _delete(document, (*self.path, NAME))


@dataclass(frozen=True)
class Hook:
    """The entry of one hook. An existing entry is kept, but the path of a moved installation is updated."""

    event: str
    value: Mapping[str, Any]
    #: The part of the command that identifies an existing entry.
    mark: str

    def add(self, document: Document) -> None:
        """Add the entry to the document. Raises ValueError."""
        entries = _child(_child(document, "hooks", dict), self.event, list)
        indexes = self._indexes(entries)
        for index in indexes:
            entries[index] = self._updated(entries[index])
        if not indexes:
            entries.append({"hooks": [dict(self.value)]})

    def remove(self, document: Document) -> None:
        """Remove the entry from the document, unless the user has changed it."""
        entries = _find(document, ("hooks", self.event))
        ours = {"hooks": [self.value]}
        for index in [index for index in self._indexes(entries) if self._updated(entries[index]) == ours][:1]:
            _delete(document, ("hooks", self.event, index))

    def _indexes(self, entries: Any) -> list[int]:
        items = entries if isinstance(entries, list) else []
        return [index for index, entry in enumerate(items) if self.mark in str(entry)]

    def _updated(self, entry: Any) -> Any:
        hooks = entry.get("hooks") if isinstance(entry, dict) else None
        if not isinstance(hooks, list):
            return entry
        return {**entry, "hooks": [_updated(hook, self.value) for hook in hooks]}


def _child(parent: Any, name: str, kind: type) -> Any:
    child = parent.setdefault(name, kind())
    if not isinstance(child, kind):
        expected = "an object" if kind is dict else "a list"
        raise ValueError(f"{name}: expected {expected}, found {json.dumps(child)[:40]}")
    return child


def _find(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _delete(container: Any, path: Sequence[str | int]) -> None:
    """Delete the entry at the path, and the containers that are empty without it."""
    first, *rest = path
    if rest:
        _delete(container[first], rest)
    if not (rest and container[first]):
        del container[first]


def _updated(existing: Any, ours: Mapping[str, Any]) -> Any:
    """Return the existing entry, with our command if it starts another installation for the same purpose."""
    if not (isinstance(existing, dict) and ("args" in existing) == ("args" in ours)):
        return existing
    words, our_words = _words(existing), _words(ours)
    if not _program_length(words) > 0 or words[_program_length(words) :] != our_words[_program_length(our_words) :]:
        return existing
    return {**existing, **{name: ours[name] for name in ("command", "args") if name in ours}}


def _words(entry: Mapping[str, Any]) -> list[str]:
    """Return the command line that an entry starts, or an empty list if it has an unknown form."""
    command = entry.get("command")
    try:
        words = [command, *entry["args"]] if "args" in entry else command
        words = shlex.split(words) if isinstance(words, str) else words
    except (TypeError, ValueError):
        return []
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def _program_length(words: Sequence[str]) -> int:
    """Return the number of words before the arguments if they start an installation of backburner, else 0."""
    if not (words and os.path.isabs(words[0])):
        return 0
    if os.path.basename(words[0]) == NAME:
        return 1
    return 3 if list(words[1:3]) == ["-m", NAME] else 0


@dataclass(frozen=True)
class File:
    """One file of a client, and the entries that it needs."""

    path: Path
    entries: Sequence[Server | Hook]
    #: Other files that the client reads for the same purpose. The user may have renamed the file to one of them.
    elsewhere: Sequence[Path] = ()

    def with_ours(self, text: str) -> str:
        """Return the text with all entries. Raises ValueError."""
        return self._edit(text, [entry.add for entry in self.entries])

    def without_ours(self, text: str) -> str:
        """Return the text without the entries that are unchanged. Raises ValueError."""
        return self._edit(text, [entry.remove for entry in self.entries])

    def _edit(self, text: str, edits: Sequence[Edit]) -> str:
        return (edit_toml if self.path.suffix == ".toml" else edit_json)(text, edits)


def claude(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Return Claude Code's files: the user's MCP servers and the user's settings."""
    configured = environ.get("CLAUDE_CONFIG_DIR")
    folder = Path(configured) if configured else home / ".claude"
    server = {"type": "stdio", "command": command[0], "args": [*command[1:], "mcp"]}
    return [
        File((folder if configured else home) / ".claude.json", [Server(("mcpServers",), server)]),
        File(folder / "settings.json", _hooks("claude", command, HOOK_TIMEOUT)),
    ]


def codex(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Return Codex's files: its configuration and the user's hooks."""
    folder = Path(environ.get("CODEX_HOME") or home / ".codex")
    server = {"command": command[0], "args": [*command[1:], "mcp"]}
    return [
        File(folder / "config.toml", [Server(("mcp_servers",), server)]),
        File(folder / "hooks.json", _hooks("codex", command, HOOK_TIMEOUT)),
    ]


def opencode(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Return opencode's file, the user's configuration. opencode has no hooks."""
    folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    plain, commented = folder / "opencode.json", folder / "opencode.jsonc"
    path, other = (commented, plain) if commented.exists() else (plain, commented)
    server = {"type": "local", "command": [*command, "mcp"], "enabled": True}
    return [File(path, [Server(("mcp",), server)], (other,))]


def gemini(command: Sequence[str], home: Path, environ: Environ) -> list[File]:
    """Return Gemini CLI's file, the user's settings. Its timeouts are in milliseconds."""
    server = {"command": command[0], "args": [*command[1:], "mcp"]}
    entries: list[Server | Hook] = [Server(("mcpServers",), server), *_hooks("gemini", command, 1000 * HOOK_TIMEOUT)]
    return [File(home / ".gemini" / "settings.json", entries)]


CLIENTS = {"claude": claude, "codex": codex, "opencode": opencode, "gemini": gemini}

#: The next step of the user after the change.
ADVICE = {
    "codex": "Codex asks whether to trust new hooks: confirm, or review them under /hooks",
}


def _hooks(client: str, command: Sequence[str], timeout: int) -> list[Hook]:
    words = shlex.join([*command, "hook", "--client", client])
    hook = {"type": "command", "command": words, "timeout": timeout}
    return [Hook(event, hook, f"hook --client {client}") for event in (*CONTEXT[client], STOP[client])]
