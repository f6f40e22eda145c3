"""What each agent's client must be told to have the tools and the hooks: its files, and what is added to them."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import json_edit
from .hooks import CONTEXT, STOP

#: What the tools are called in every client.
NAME = "backburner"
#: Seconds that a client waits for a hook at most.
HOOK_TIMEOUT = 10

Environ = Mapping[str, str]


@dataclass(frozen=True)
class Member:
    """An object's member that is to be there; one that is there already is the user's, or another installation's."""

    path: tuple[str, ...]
    key: str
    value: Any

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError."""
        place = (*self.path, self.key)
        there = json_edit.found(text, place)
        if there is None:
            return json_edit.add(text, self.path, self.key, self.value)
        return json_edit.change(text, place, _renewed(there, self.value))

    def removed(self, text: str) -> str:
        """The text without it."""
        place = (*self.path, self.key)
        return (
            json_edit.remove(text, place) if _renewed(json_edit.found(text, place), self.value) == self.value else text
        )


@dataclass(frozen=True)
class Element:
    """A list's element with a hook that is to be there, unless one that does the same is."""

    path: tuple[str, ...]
    value: Any
    #: What shows, in an element's text, that it does the same.
    mark: str

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError."""
        places = self._places(text)
        if not places:
            return json_edit.add(text, self.path, None, self.value)
        for place, found in places:
            text = json_edit.change(text, (*self.path, place), self._renewed(found))
        return text

    def removed(self, text: str) -> str:
        """The text without it."""
        places = [place for place, found in self._places(text) if self._renewed(found) == self.value]
        return json_edit.remove(text, (*self.path, places[0])) if places else text

    def _places(self, text: str) -> list[tuple[int, Any]]:
        elements = json_edit.found(text, self.path)
        if not isinstance(elements, list):
            return []
        return [(place, found) for place, found in enumerate(elements) if self.mark in str(found)]

    def _renewed(self, element: Any) -> Any:
        hooks = element.get("hooks") if isinstance(element, dict) else None
        if not isinstance(hooks, list):
            return element
        (ours,) = self.value["hooks"]
        return {**element, "hooks": [_renewed(hook, ours) for hook in hooks]}


@dataclass(frozen=True)
class Table:
    """A table of TOML, at the end of the file."""

    path: tuple[str, ...]
    value: Mapping[str, Any]

    def added(self, text: str) -> str:
        """The text with it. Raises ValueError, where that would be no TOML."""
        there = self._found(text)
        wanted = self.value if there is None else _renewed(there, self.value)
        if there == wanted:
            return text
        end = "" if text.endswith("\n") or not text else "\n"
        new = f"{text}{end}{self._lines(text)}" if there is None else self._changed(text, there)
        if self._found(new) != wanted:
            raise ValueError(f"[{'.'.join(self.path)}] names another installation, in a form that is not ours")
        return new

    def removed(self, text: str) -> str:
        """The text without it."""
        there = self._found(text)
        if _renewed(there, self.value) != self.value or there.keys() != self.value.keys():
            return text
        ours = Table(self.path, {name: there[name] for name in self.value})
        return text.replace(ours._lines("x"), "", 1).replace(ours._lines(""), "", 1)

    def _found(self, text: str) -> Any:
        document: Any = tomllib.loads(text)
        for name in self.path:
            document = document.get(name) if isinstance(document, dict) else None
        return document

    def _changed(self, text: str, there: Mapping[str, Any]) -> str:
        """The text with our words in the lines that name another installation."""
        before, header, lines = text.partition(f"[{'.'.join(self.path)}]\n")
        for name, value in self.value.items():
            lines = lines.replace(_line(name, there.get(name)), _line(name, value), 1)
        return before + header + lines

    def _lines(self, before: str) -> str:
        body = [f"{_line(name, value)}\n" for name, value in self.value.items()]
        return "".join([*(["\n"] if before else []), f"[{'.'.join(self.path)}]\n", *body])


def _line(name: str, value: Any) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"


def _renewed(there: Any, ours: Mapping[str, Any]) -> Any:
    """What is there, with our command in place of another installation's; what the user made is left as it is."""
    if not (isinstance(there, dict) and _is_installations(_words(there), _words(ours))):
        return there
    return {**there, **{name: ours[name] for name in ("command", "args") if name in ours}}


def _words(told: Mapping[str, Any]) -> list[str]:
    """What a client starts: a shell's words, a list, or a program and its arguments. Nothing where it is neither."""
    command, more = told.get("command"), told.get("args", [])
    try:
        words = [command, *more] if "args" in told else shlex.split(command) if isinstance(command, str) else command
    except (TypeError, ValueError):
        return []
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def _is_installations(words: Sequence[str], ours: Sequence[str]) -> bool:
    """Whether they start, in some folder, an installation of this program, for what ours are for."""
    count, verbs = _starting(words), ours[_starting(ours) :]
    return count > 0 and list(words[count:]) == list(verbs)


def _starting(words: Sequence[str]) -> int:
    """How many of the words start a certain installation of this program, before they say what for; 0: they do not."""
    if not (words and os.path.isabs(words[0])):
        return 0
    if os.path.basename(words[0]) == NAME:
        return 1
    return 3 if list(words[1:3]) == ["-m", NAME] else 0


Addition = Member | Element | Table


@dataclass(frozen=True)
class File:
    """One file of a client, and what is added to it."""

    path: Path
    additions: Sequence[Addition]
    #: Where the client reads the same, too: the user may have gone from one to the other since.
    elsewhere: Sequence[Path] = ()

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
    plain, commented = folder / "opencode.json", folder / "opencode.jsonc"
    path, other = (commented, plain) if commented.exists() else (plain, commented)
    server = {"type": "local", "command": [*command, "mcp"], "enabled": True}
    return [File(path, [Member(("mcp",), NAME, server)], (other,))]


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
