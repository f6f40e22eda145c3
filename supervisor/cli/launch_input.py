"""What a launch says, from options, words and files."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ...ipc.config.environment import captured, inherited
from ...ipc.config.settings import BackgroundConfig
from ...ipc.errors import InvalidInput
from ...ipc.model.launch import INPUT_LIMIT, LaunchInput
from ...ipc.store.launch import agent_of
from .context import Desk
from .options import own_parent

#: The options that are fields of a LaunchInput as they stand.
_FIELDS = {
    "agent": "agent",
    "model": "model",
    "key": "concurrencyKey",
    "message": "parentMessageId",
    "description": "description",
    "priority": "priority",
    "delay": "delayMs",
    "timeout": "timeoutMs",
    "retries": "retries",
    "unique": "uniqueKey",
    "leave_children": "leaveChildren",
    "call": "call",
    "args": "args",
    "kwargs": "kwargs",
    "metadata": "metadata",
}

Options = Mapping[str, Any]


class Words(NamedTuple):
    """What is no option: before the first `--`, and after it (None: there is none)."""

    before: Sequence[str]
    command: Sequence[str] | None


def inputs(desk: Desk, options: Options, words: Words) -> list[LaunchInput]:
    """The tasks that a command line means, one or a file's. Raises InvalidInput, UsageError."""
    said = _said(desk, options)
    if options["from_file"] is not None:
        if words.before or words.command is not None:
            raise click.UsageError("Give the tasks on the command line or by --from-file, not both", _here())
        return list(_from_file(options["from_file"], said, desk.sound_config))
    return [LaunchInput.from_json(said | _work(words, options))]


def _said(desk: Desk, options: Options) -> dict[str, Any]:
    """All that the options say, in the shape of the socket."""
    said = {field: options[name] for name, field in _FIELDS.items() if options[name] is not None}
    said |= {"env": _environment(options, desk.sound_config), **_place(desk, options)}
    if after := {name: [desk.find(id) for id in options[name]] for name in ("after", "after_any") if options[name]}:
        said |= {"after": after.get("after", []), "afterAny": after.get("after_any", [])}
    return said | _stdin(options["stdin"])


def _place(desk: Desk, options: Options) -> dict[str, Any]:
    """Where it runs and who is told; a follow-up has that of the task before, unless it is said."""
    if options["resume"] is not None:
        if options["no_parent"]:
            raise click.UsageError("What goes on in a session has its parent; --parent names another", _here())
        given = {"cwd": options["cwd"] and os.path.abspath(options["cwd"]), "parentSessionId": options["parent"]}
        return {"resume": desk.find(options["resume"]), **{name: value for name, value in given.items() if value}}
    parent = None if options["no_parent"] else options["parent"] or own_parent()
    return {"cwd": os.path.abspath(options["cwd"] or Path.cwd())} | ({"parentSessionId": parent} if parent else {})


def _environment(options: Options, config: BackgroundConfig) -> dict[str, str | None]:
    kept = inherited(os.environ) if options["inherit_env"] else captured(os.environ, config.pass_env)
    pairs = (entry.partition("=") for entry in options["env"])
    return {**kept, **{name: value if equals else None for name, equals, value in pairs}}


def _stdin(source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    if source == "-":
        return {"stdin": _read_stdin("--stdin")}
    return {"stdinFile": os.path.abspath(source)}


def _work(words: Words, options: Options) -> dict[str, Any]:
    """The prompt or the command."""
    if words.command is not None:
        if words.before:
            raise click.UsageError("Give a prompt, or a command after --, not both", _here())
        if not words.command:
            raise click.UsageError("A command is missing after --", _here())
        return {"command": list(words.command)}
    if not words.before and options["call"]:
        return {}
    if len(words.before) != 1:
        found = "no word" if not words.before else f"{len(words.before)} words"
        raise click.UsageError(
            f"A prompt is exactly one word (quote it), {found} given; a command goes after --", _here()
        )
    return {"prompt": _read_stdin("prompt") if words.before[0] == "-" else words.before[0]}


def _read_stdin(field: str) -> str:
    raw = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    if len(raw) > INPUT_LIMIT:
        raise InvalidInput(
            f"{field}: what stdin brings is longer than 1 MiB; give long texts by file (--stdin FILE).",
            field=field,
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{field}: stdin is no UTF-8 at byte {error.start}; give it by file.", field=field) from None


def _from_file(path: str, said: dict[str, Any], config: BackgroundConfig) -> Iterator[LaunchInput]:
    for place, line in _lines(path):
        try:
            wanted = LaunchInput.from_json(_with_defaults(_parsed(line), said))
            if wanted.resume is None:
                agent_of(wanted, config)
        except InvalidInput as error:
            raise type(error)(f"{place}: {error}", field=error.field) from None
        yield wanted


def _lines(path: str) -> Iterator[tuple[str, bytes]]:
    """The lines that are not blank, with the names of their places."""
    name = "stdin" if path == "-" else path
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{name}, line {number}", line
    except OSError as error:
        raise InvalidInput(f"--from-file: {name} cannot be read ({error.strerror}).", field="from-file") from error


def _parsed(line: bytes) -> object:
    if len(line) > INPUT_LIMIT + 1:
        raise InvalidInput("it is longer than 1 MiB; give long texts by file (stdinFile).")
    try:
        return json.loads(line.decode(), parse_constant=_refuse)
    except RecursionError:
        raise InvalidInput("its JSON is nested too deeply.") from None
    except ValueError as error:
        raise InvalidInput(f"it is no JSON ({error}).") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _with_defaults(line: object, said: dict[str, Any]) -> object:
    """A line, with what the options say where it says nothing; its environment is added to the launcher's."""
    if not isinstance(line, dict):
        return line
    place = ("cwd", "parentSessionId") if line.get("resume") else ()
    found = {**{name: value for name, value in said.items() if name not in place}, **line}
    if isinstance(own := line.get("env"), dict):
        found["env"] = said["env"] | own
    return found


def placed(error: InvalidInput, path: str | None) -> InvalidInput:
    """An error about `tasks[2]`, which came of a file, in words that its author knows."""
    found = re.match(r"tasks\[(\d+)\]\.", str(error))
    if path is None or found is None:
        return error
    place = [place for place, _ in _lines(path)][int(found[1])] if path != "-" else f"task {int(found[1]) + 1}"
    return type(error)(f"{place}: {str(error)[found.end() :]}", field=error.field)


def _here() -> click.Context:
    return click.get_current_context()
