"""Read launch inputs from the options, arguments and files of a command line."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import click

from ...ipc.config.settings import BackgroundConfig
from ...ipc.errors import InvalidInput, UnknownAgent
from ...ipc.mistakes import utf8_size
from ...ipc.model.launch import INPUT_LIMIT, LaunchInput
from ...ipc.store.launch import agent_of
from .context import Context
from .input.variables import named_variables
from .options import naming_options, session_from_environment

#: Options whose values are fields of a LaunchInput without conversion.
_FIELDS = {
    "agent": "agent",
    "model": "model",
    "key": "concurrencyKey",
    "message": "parentMessageId",
    "description": "description",
    "priority": "priority",
    "timeout": "timeoutMs",
    "retries": "retries",
    "unique": "uniqueKey",
    "leave_children": "leaveChildren",
    "call": "call",
    "args": "args",
    "kwargs": "kwargs",
    "metadata": "metadata",
    "notify": "notify",
}

#: The copies of pipes that this process reads when it launches its tasks.
_COPIES: list[IO[bytes]] = []

Options = Mapping[str, Any]


class Positional(NamedTuple):
    """The arguments before and after the first `--`. `command` is None if there is no `--`."""

    words: Sequence[str]
    command: Sequence[str] | None


def launch_inputs(context: Context, options: Options, arguments: Positional) -> list[LaunchInput]:
    """Return the input of a command line, or the inputs in its file. Raises InvalidInput, UsageError."""
    with naming_options():
        fields = _fields(context, options)
        if options["like"] is not None:
            return [LaunchInput.from_json(_changed(context, fields, options, arguments))]
        if options["from_file"] is None:
            return [LaunchInput.from_json(fields | _prompt_or_command(arguments, options))]
        LaunchInput.from_json(fields)
    if arguments.words or arguments.command is not None or options["line"] is not None:
        raise click.UsageError("--from-file cannot be combined with a prompt or a command", _ctx())
    return _from_file(options["from_file"], fields, context.valid_config)


def _fields(context: Context, options: Options) -> dict[str, Any]:
    """Return the fields that the options set, with their JSON names."""
    fields = {field: options[name] for name, field in _FIELDS.items() if options[name] is not None}
    fields |= {"env": named_variables(options), **_folder_and_session(context, options)}
    for name, field in (("after", "after"), ("after_any", "afterAny")):
        if options[name]:
            fields[field] = [context.resolve_id(id, f"--{name.replace('_', '-')}") for id in options[name]]
    for name, field in (("tags", "tags"), ("secret", "secretEnv"), ("agent_arg", "agentArgs")):
        if options[name]:
            fields[field] = list(options[name])
    return fields | _delay(options) | _stdin(options["stdin"])


def _changed(context: Context, fields: dict[str, Any], options: Options, arguments: Positional) -> dict[str, Any]:
    """Return the fields of an earlier task, changed by the options and arguments that were given."""
    from .input.like import fields_like, merge, require_input  # few launches need it

    if options["from_file"] is not None or options["resume"] is not None:
        raise click.UsageError("--like cannot be combined with --from-file or --resume", _ctx())
    kept = {name: value for name, value in fields.items() if name != "cwd" or options["cwd"]}
    is_changed = arguments.words or arguments.command is not None or options["line"] is not None
    work = _prompt_or_command(arguments, options) if is_changed else {}
    like = fields_like(context, context.resolve_id(options["like"], "--like"))
    if options["no_parent"]:
        like.pop("parentSessionId", None)
    changed = merge(like, {**kept, **work})
    require_input(changed)
    return changed


def _delay(options: Options) -> dict[str, Any]:
    if None not in (options["delay"], options["at"]):
        raise click.UsageError("give --delay or --at, not both", _ctx())
    delay = options["delay"] if options["at"] is None else options["at"]
    return {} if delay is None else {"delayMs": delay}


def _folder_and_session(context: Context, options: Options) -> dict[str, Any]:
    """Return the working folder and the session. By default, a follow-up takes both from the task that it resumes."""
    if options["resume"] is not None:
        if options["no_parent"]:
            raise click.UsageError("--no-parent cannot be combined with --resume; use --parent", _ctx())
        given = {"cwd": options["cwd"] and _absolute(options["cwd"]), "parentSessionId": options["parent"]}
        return {
            "resume": context.resolve_id(options["resume"], "--resume"),
            **{name: value for name, value in given.items() if value},
        }
    parent = None if options["no_parent"] else options["parent"] or session_from_environment()
    return {"cwd": _absolute(options["cwd"] or "")} | ({"parentSessionId": parent} if parent else {})


def _absolute(folder: str) -> str:
    try:
        path = os.path.abspath(folder)
    except FileNotFoundError:
        raise InvalidInput(
            "the current folder is gone; change to another one, or use --cwd DIR and --home DIR", field="cwd"
        ) from None
    if utf8_size(path) is None:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        step = "use --cwd with a folder above it, and change to it by a pattern, as in: -c 'cd ./caf*; make'"
        raise InvalidInput(f"the folder '{shown}' is not valid UTF-8; {step}", field="cwd")
    return path


def _stdin(source: str | None) -> dict[str, Any]:
    if source is None:
        return {}
    if source == "-":
        return {"stdin": _read_stdin("--stdin")}
    path = os.path.abspath(source)
    return {"stdinFile": _copied_pipe(path) if _is_pipe(path) else path}


def _is_pipe(path: str) -> bool:
    """Return True for a named pipe, and for /dev/stdin or /dev/fd/N if that is one: «--stdin <(command)»."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def _copied_pipe(path: str) -> str:
    """Read a pipe to its end, and return the path of a file with its content, which ends with this process."""
    import shutil
    import tempfile

    copy = tempfile.TemporaryFile()  # noqa: SIM115  # it stays open until this process has launched the task
    _COPIES.append(copy)
    try:
        with open(path, "rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        copy.seek(0)
    except OSError as error:
        raise InvalidInput(f"--stdin: cannot copy {path}: {error.strerror}", field="stdinFile") from error
    return f"/dev/fd/{copy.fileno()}"


def _prompt_or_command(arguments: Positional, options: Options) -> dict[str, Any]:
    words, command = arguments
    if options["line"] is not None:
        return {"command": ["sh", "-c", _checked_line(options["line"], arguments)]}
    if command is not None:
        return {"command": _checked_command(words, command)}
    if not words and options["call"]:
        return {}
    if len(words) != 1:
        if not words:
            raise click.UsageError("missing prompt or command; put a command after --", _ctx())
        from .input.prompt import suggest_command

        step = suggest_command(_ctx().info_name or "launch", words)
        raise click.UsageError(f"{step}; a prompt is one argument, got {len(words)}: quote it", _ctx())
    return {"prompt": _read_stdin("prompt") if words[0] == "-" else words[0]}


def _checked_line(line: str, arguments: Positional) -> str:
    if arguments.words or arguments.command is not None:
        raise click.UsageError("give -c LINE, a prompt, or a command after --, and only one of them", _ctx())
    if not line.strip():
        raise click.UsageError("-c must not be empty", _ctx())
    return line


def _checked_command(words: Sequence[str], command: Sequence[str]) -> list[str]:
    if words:
        raise click.UsageError("give a prompt or a command after --, not both", _ctx())
    if not command:
        raise click.UsageError("missing command after --", _ctx())
    for word in command:
        if utf8_size(word) is None:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            step = "name a file by a pattern of the shell, as in: -c 'wc ./*.txt'"
            raise click.UsageError(f"the argument '{shown}' is not valid UTF-8; {step}", _ctx())
    return [*command]


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


def _from_file(path: str, fields: dict[str, Any], config: BackgroundConfig) -> list[LaunchInput]:
    launches = list(_launches(path, fields, config))
    if not launches:
        raise InvalidInput(f"--from-file: no tasks in {'stdin' if path == '-' else path}", field="from-file")
    return launches


def _launches(path: str, fields: dict[str, Any], config: BackgroundConfig) -> Iterator[LaunchInput]:
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
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(BOM_UTF8) if number == 1 else raw
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


def locate(error: InvalidInput, inputs: Sequence[LaunchInput], path: str | None) -> InvalidInput:
    """Return an error with the position in the file in place of `tasks[2]`. Without a file, it names options."""
    if path is None:
        from .input.refusal import with_options

        return type(error)(_suggestion(error, inputs[0]) + with_options(str(error)), field=error.field)
    match = re.match(r"tasks\[(\d+)\]\.", str(error))
    if match is None:
        return error
    position = [position for position, _ in _lines(path)][int(match[1])] if path != "-" else f"task {int(match[1]) + 1}"
    return type(error)(f"{position}: {str(error)[match.end() :]}", field=error.field)


def _suggestion(error: InvalidInput, launch: LaunchInput) -> str:
    """Return the start of a message: the way to run a command, if a prompt without an agent may have been meant so."""
    if not isinstance(error, UnknownAgent) or launch.agent or launch.prompt is None:
        return ""
    from .input.prompt import suggest_command

    return f"{suggest_command(_ctx().info_name or 'launch', [launch.prompt])}; "


def _ctx() -> click.Context:
    return click.get_current_context()
