"""Launches: their fields, and the values that they inherit from the launching process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from ..errors import InvalidInput
from ..mistakes import utf8_size
from ..validation import Anything, Flag, Integer, ListOf, MapOf, Nullable, OneOf, Record, Shape, Text
from .fields import LIST, NAMES, OBJECT, VARIABLES, declared, specs_of
from .task import ID, TAGS, UMASK, plain

#: The maximum size of a LaunchInput, in bytes of JSON.
INPUT_LIMIT = 1024 * 1024

#: The longest wait, delay or timeout, in milliseconds (about 31 years).
LONGEST = 10**12

_NAME = Text(max_bytes=1024, non_empty=True)

_VARIABLE = Text(pattern="[^=]+", expected="a name without =")
_VARIABLES = Nullable(MapOf(Nullable(Text()), key=_VARIABLE))

_CALL = Text(pattern=r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", expected="MODULE:FUNCTION, such as json:loads")

#: `*` means all sessions, so a session with this name is not allowed.
_PARENT = Text(max_bytes=1024, pattern=r"\*[\s\S]+|[^*][\s\S]*", expected="a name other than *")


class Arguments(ListOf[str]):
    """A command and its arguments. The message about a text shows how to write it."""

    def mismatch(self, value: object) -> str | None:
        """Return a description of a valid value, or None."""
        if isinstance(value, str):
            return 'a list of arguments, such as ["make", "test"], or ["sh", "-c", LINE] for a line of shell'
        return super().mismatch(value)


_COMMAND = Arguments(Text(), non_empty=True)


@dataclass(frozen=True, kw_only=True)
class LaunchInput:
    """The input of a launch. None means the default of the configuration, or no value."""

    id: str | None = declared(ID, None, "tasks.id")
    prompt: str | None = declared(Nullable(Text()), None, "inputs.prompt")
    #: An ended task. Its session answers the prompt.
    resume: str | None = declared(Nullable(Text(non_empty=True)), None, "inputs.resumes")
    agent: str | None = declared(Nullable(_NAME), None, "tasks.agent")
    model: str | None = declared(Nullable(_NAME), None, "tasks.model")
    concurrency_key: str | None = declared(Nullable(_NAME), None, "tasks.key")
    description: str | None = declared(Nullable(Text()), None, "tasks.description")
    tags: tuple[str, ...] = declared(TAGS, (), "tasks.tags", LIST)
    parent_session_id: str | None = declared(Nullable(_PARENT), None, "tasks.parent")
    parent_message_id: str | None = declared(Nullable(_NAME), None, "tasks.message")
    command: tuple[str, ...] | None = declared(Nullable(_COMMAND), None, "inputs.command", LIST)
    call: str | None = declared(Nullable(_CALL), None, "inputs.call")
    args: tuple[Any, ...] | None = declared(Nullable(ListOf(Anything())), None, "inputs.args", LIST)
    kwargs: Mapping[str, Any] | None = declared(Nullable(MapOf(Anything())), None, "inputs.kwargs", OBJECT)
    cwd: str | None = declared(Nullable(Text(non_empty=True)), None, "inputs.cwd")
    env: Mapping[str, str | None] | None = declared(_VARIABLES, None, "inputs.env", VARIABLES)
    #: Variables whose values are taken where the task runs. They are never stored.
    secret_env: tuple[str, ...] = declared(ListOf(_VARIABLE), (), "inputs.secret_env", LIST)
    #: The environment of the launcher, below that of the agent. Null stands for variables that the launcher lacks.
    launcher_env: Mapping[str, str | None] | None = declared(_VARIABLES, None, "inputs.launcher_env", VARIABLES)
    #: The names of the launcher's variables that are not handed on.
    env_dropped: tuple[str, ...] = declared(ListOf(Text()), (), "inputs.env_dropped", NAMES)
    umask: str | None = declared(Nullable(UMASK), None, "inputs.umask")
    interpreter: str | None = declared(Nullable(Text(non_empty=True)), None, "inputs.interpreter")
    #: Further arguments of the agent's command.
    agent_args: tuple[str, ...] = declared(ListOf(Text()), (), "inputs.agent_args", LIST)
    stdin: str | None = declared(Nullable(Text()), None, "inputs.stdin")
    stdin_file: str | None = declared(Nullable(Text(non_empty=True)), None, "inputs.stdin_file")
    priority: int = declared(Integer(-1000, 1000), 0, "tasks.priority")
    delay_ms: int = declared(Integer(0, LONGEST), 0)
    timeout_ms: int | None = declared(Nullable(Integer(0, LONGEST)), None, "tasks.timeout_ms")
    retries: int = declared(Integer(0, 1000), 0, "tasks.retries")
    unique_key: str | None = declared(Nullable(_NAME), None, "tasks.unique_key")
    after: tuple[str, ...] = declared(ListOf(Text(non_empty=True)), (), "inputs.after", LIST)
    after_any: tuple[str, ...] = declared(ListOf(Text(non_empty=True)), (), "inputs.after_any", LIST)
    leave_children: bool | None = declared(Nullable(Flag()), None, "inputs.leave_children")
    #: "person": notify people of this task by itself, as soon as it ends.
    notify: str | None = declared(Nullable(OneOf("person")), None, "tasks.notify")
    metadata: Mapping[str, Any] | None = declared(Nullable(MapOf(Anything())), None, "inputs.metadata", OBJECT)

    @classmethod
    def of_checked(cls, values: Mapping[str, Any]) -> LaunchInput:
        """Return a launch with these valid values and the defaults of all other fields, as fast as `Task.of_all`."""
        launch = object.__new__(cls)
        vars(launch).update(_DEFAULTS, **values)
        return launch

    def changed(self, values: Mapping[str, Any]) -> LaunchInput:
        """Return a copy with these valid values, as fast as `of_checked`."""
        launch = object.__new__(type(self))
        vars(launch).update(vars(self), **values)
        return launch

    @classmethod
    def from_json(cls, document: object, where: str = "") -> LaunchInput:
        """Return the launch that a JSON document describes. Raises InvalidInput, which names the field."""
        return cls.from_checked_json(LAUNCH.check(document, where))

    @classmethod
    def from_checked_json(cls, checked: Mapping[str, Any]) -> LaunchInput:
        """Return the launch that a document in the normal form of `LAUNCH` describes."""
        return cls.of_checked(
            {spec.name: spec.codec.parse(checked[spec.json_name]) for spec in LAUNCH_SPECS if spec.json_name in checked}
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set, in the shape of the socket."""
        given = vars(self)
        values = ((spec.json_name, given[spec.name]) for spec in LAUNCH_SPECS)
        return {name: plain(value) for name, value in values if value is not None and value not in ((), [])}

    def columns(self, table: str) -> dict[str, Any]:
        """Return the column values that a launch sets in one table."""
        given = vars(self)
        return {spec.column: spec.codec.dump(given[spec.name]) for spec in LAUNCH_SPECS if spec.table == table}


LAUNCH_SPECS = specs_of(LaunchInput)
_DEFAULTS = {spec.name: spec.default for spec in LAUNCH_SPECS}

#: The shape of each field of a launch, by its JSON name.
LAUNCH_FIELDS: dict[str, Shape[Any]] = {spec.json_name: spec.shape for spec in LAUNCH_SPECS}
LAUNCH = Record("LaunchInput", LAUNCH_FIELDS)

#: The same with Python names, so that an error names a field as the caller did.
_LAUNCH_IN_PYTHON = Record("LaunchInput", {spec.name: spec.shape for spec in LAUNCH_SPECS})


class LaunchFields(TypedDict, total=False):
    """The keyword arguments of `launch`. None is the same as absent.

    `delay` and `timeout` are seconds or timedeltas, `delay_ms` and `timeout_ms` are milliseconds.
    """

    id: str
    prompt: str | None
    resume: str | None
    agent: str | None
    model: str | None
    concurrency_key: str | None
    description: str | None
    tags: Sequence[str]
    parent_session_id: str | None
    parent_message_id: str | None
    command: Sequence[str] | None
    call: str | Callable[..., Any] | None
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    cwd: str | None
    env: Mapping[str, str | None] | None
    secret_env: Sequence[str]
    launcher_env: Mapping[str, str | None] | None
    env_dropped: Sequence[str]
    umask: str | None
    interpreter: str | None
    agent_args: Sequence[str]
    stdin: str | None
    stdin_file: str | None
    priority: int
    delay: float | timedelta | None
    delay_ms: int
    timeout: float | timedelta | None
    timeout_ms: int | None
    retries: int
    unique_key: str | None
    after: Sequence[str]
    after_any: Sequence[str]
    leave_children: bool | None
    notify: str | None
    metadata: Mapping[str, Any] | None


def launch_input(given: LaunchFields | LaunchInput, where: str) -> LaunchInput:
    """Check a launch of this process. Its folder is by default the current one.

    Raises InvalidInput, which names the field within `where`.
    """
    return in_current_folder(_checked(given, where))


def in_current_folder(launch: LaunchInput) -> LaunchInput:
    """Return a launch with the current folder if it names none. A follow-up has the folder of its task."""
    if launch.cwd or launch.resume:
        return launch
    return launch.changed({"cwd": _working_folder()})


def _working_folder() -> str:
    try:
        folder = os.getcwd()
    except FileNotFoundError:
        raise InvalidInput("cwd: the current folder is gone; give another one", field="cwd") from None
    if utf8_size(folder) is None:
        raise InvalidInput("cwd: the name of the current folder is not UTF-8; give another one", field="cwd")
    return folder


def _checked(given: LaunchFields | LaunchInput, where: str) -> LaunchInput:
    if isinstance(given, LaunchInput):  # its fields may have any type, because the constructor does not check them
        return LaunchInput.from_json(given.to_json(), where)
    values: dict[str, Any] = _LAUNCH_IN_PYTHON.check(_with_name_of_call(given, where), where)
    return LaunchInput.of_checked(
        {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def _with_name_of_call(given: object, where: str) -> object:
    """Return the fields of a launch with the name of its function. Raises InvalidInput."""
    if not (isinstance(given, Mapping) and callable(given.get("call"))):
        return given
    from .callable_name import name_of  # most calls are launched by name

    return {**given, "call": name_of(given["call"], f"{where}.call" if where else "call")}
