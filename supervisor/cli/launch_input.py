"""Read launch inputs from the options, arguments and files of a command line."""

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
from .context import Context
from .options import session_from_environment

#: Options whose values are fields of a LaunchInput without conversion.
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


class Positional(NamedTuple):
    """The arguments before and after the first `--`. `command` is None if there is no `--`."""

    words: Sequence[str]
    command: Sequence[str] | None


def launch_inputs(context: Context, options: Options, arguments: Positional) -> list[LaunchInput]:
    """Return the input of a command line, or the inputs in its file. Raises InvalidInput, UsageError."""
    fields = _fields(context, options)
    if options["from_file"] is not None:
        if arguments.words or arguments.command is not None:
            raise click.UsageError("--from-file cannot be combined with a prompt or a command", _ctx())
        return list(_from_file(options["from_file"], fields, context.valid_config))
    return [LaunchInput.from_json(fields | _prompt_or_command(arguments, options))]


def _fields(context: Context, options: Options) -> dict[str, Any]:
    """Return the fields that the options set, with their JSON names."""
    fields = {field: options[name] for name, field in _FIELDS.items() if options[name] is not None}
    fields |= {"env": _environment(options, context.valid_config), **_folder_and_session(context, options)}
    for name, field in (("after", "after"), ("after_any", "afterAny")):
        if options[name]:
            fields[field] = [context.resolve_id(id) for id in options[name]]
    if options["tags"]:
        fields["tags"] = list(options["tags"])
    return fields | _stdin(options["stdin"])


def _folder_and_session(context: Context, options: Options) -> dict[str, Any]:
    """Return the working folder and the session. By default, a follow-up takes both from the task that it resumes."""
    if options["resume"] is not None:
        if options["no_parent"]:
            raise click.UsageError("--no-parent cannot be combined with --resume; use --parent", _ctx())
        given = {"cwd": options["cwd"] and os.path.abspath(options["cwd"]), "parentSessionId": options["parent"]}
        return {
            "resume": context.resolve_id(options["resume"]),
            **{name: value for name, value in given.items() if value},
        }
    parent = None if options["no_parent"] else options["parent"] or session_from_environment()
    return {"cwd": os.path.abspath(options["cwd"] or Path.cwd())} | ({"parentSessionId": parent} if parent else {})


def _environment(options: Options, config: BackgroundConfig) -> dict[str, str | None]:
    variables = inherited(os.environ) if options["inherit_env"] else captured(os.environ, config.pass_env)
    pairs = (entry.partition("=") for entry in options["env"])
    return {**variables, **{name: value if equals else None for name, equals, value in pairs}}


def _stdin(source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    if source == "-":
        return {"stdin": _read_stdin("--stdin")}
    return {"stdinFile": os.path.abspath(source)}


def _prompt_or_command(arguments: Positional, options: Options) -> dict[str, Any]:
    words, command = arguments
    if command is not None:
        if words:
            raise click.UsageError("Give a prompt or a command after --, not both", _ctx())
        if not command:
            raise click.UsageError("Missing command after --", _ctx())
        return {"command": list(command)}
    if not words and options["call"]:
        return {}
    if len(words) != 1:
        missing = "Missing prompt" if not words else f"Expected one prompt, got {len(words)} arguments"
        raise click.UsageError(f"{missing}; quote a prompt, or put a command after --", _ctx())
    return {"prompt": _read_stdin("prompt") if words[0] == "-" else words[0]}


def _read_stdin(field: str) -> str:
    raw = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    if len(raw) > INPUT_LIMIT:
        raise InvalidInput(
            f"{field}: stdin is longer than 1 MiB; pass long text in a file (--stdin FILE)",
            field=field,
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{field}: stdin is not UTF-8 (byte {error.start}); pass it in a file", field=field
        ) from None


def _from_file(path: str, fields: dict[str, Any], config: BackgroundConfig) -> Iterator[LaunchInput]:
    for position, line in _lines(path):
        try:
            launch = LaunchInput.from_json(_with_defaults(_parse(line), fields))
            if launch.resume is None:
                agent_of(launch, config)
        except InvalidInput as error:
            raise type(error)(f"{position}: {error}", field=error.field) from None
        yield launch


def _lines(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield the lines that are not blank, each with its position: «FILE, line 3»."""
    name = "stdin" if path == "-" else path
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{name}, line {number}", line
    except OSError as error:
        raise InvalidInput(f"--from-file: cannot read {name}: {error.strerror}", field="from-file") from error


def _parse(line: bytes) -> object:
    if len(line) > INPUT_LIMIT + 1:
        raise InvalidInput("longer than 1 MiB; pass long text in a file (stdinFile)")
    try:
        return json.loads(line.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidInput("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"not valid JSON ({error})") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _with_defaults(line: object, fields: dict[str, Any]) -> object:
    """Return a line with the options' fields as defaults. Its `env` is added to the launcher's."""
    if not isinstance(line, dict):
        return line
    own = ("cwd", "parentSessionId") if line.get("resume") else ()
    merged = {**{name: value for name, value in fields.items() if name not in own}, **line}
    if isinstance(env := line.get("env"), dict):
        merged["env"] = fields["env"] | env
    return merged


def locate(error: InvalidInput, path: str | None) -> InvalidInput:
    """Return an error about `tasks[2]` of a file, with the position in the file in position of the index."""
    match = re.match(r"tasks\[(\d+)\]\.", str(error))
    if path is None or match is None:
        return error
    position = [position for position, _ in _lines(path)][int(match[1])] if path != "-" else f"task {int(match[1]) + 1}"
    return type(error)(f"{position}: {str(error)[match.end() :]}", field=error.field)


def _ctx() -> click.Context:
    return click.get_current_context()
