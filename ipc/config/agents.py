"""The settings of agents, and their shapes in a configuration file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..mistakes import Mistake
from ..validation import Flag, ListOf, MapOf, Number, OneOf, Record, Schema, Shape, Text
from .extract import POINTER
from .presets import is_preset, preset

#: The agents that exist without configuration.
BUILT_IN = ("command", "python", "external")

#: The placeholders of all templates, and the additional placeholder of templates that continue a session.
PLACEHOLDERS = ("prompt", "prompt_file", "model", "description", "task_id", "parent_session_id", "uuid")
SESSION_PLACEHOLDER = "session"

#: The placeholders of the command that runs for each batch.
BATCH_PLACEHOLDERS = ("parent_session_id", "message", "seq", "home")

#: The pattern of a placeholder in a template. `${name}` belongs to the shell.
PLACEHOLDER = r"(?<!\$)\{([a-z_]+)\}"

SECONDS = Number(0, 315_360_000)

NAME = Text(non_empty=True)


class Template(Text):
    """Text in which every placeholder is known."""

    def __init__(self, *extra: str) -> None:
        """Accept the usual placeholders and `extra`."""
        super().__init__()
        self._known = (*PLACEHOLDERS, *extra)

    def mismatch(self, value: object) -> str | None:
        """Return what is expected instead. An unknown placeholder would reach the program as it is."""
        if mismatch := super().mismatch(value):
            return mismatch
        unknown = set(re.findall(PLACEHOLDER, str(value))) - set(self._known)
        known = " ".join(f"{{{name}}}" for name in self._known)
        return f"no other placeholders than {known}" if unknown else None


#: The element of a command at which its further arguments are put.
FURTHER_ARGUMENTS = "{args}"

_FURTHER = Text()


class BatchTemplate(Template):
    """A template with the placeholders of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._known = BATCH_PLACEHOLDERS


class Element(Shape[str | list[str]]):
    """An element of a command, or a list of elements. A list is left out if one of its placeholders has no value."""

    expected = "text or a list of text"

    def __init__(self, *extra: str) -> None:
        self._text, self._list = Template(*extra), ListOf(Template(*extra), non_empty=True)

    def fits(self, value: object) -> bool:
        """Return True if the text, or the list, is valid."""
        return isinstance(value, str | list | tuple) and self._shape_of(value).fits(value)

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        """Yield the mistakes of the text or the list."""
        if isinstance(value, str | list | tuple):
            return self._shape_of(value).iter_mistakes(value, field)
        return super().iter_mistakes(value, field)

    def mismatch(self, value: object) -> str | None:
        """Return what is expected if the value is neither text nor a list."""
        return None if isinstance(value, str | list | tuple) else self.expected

    def normal(self, value: object) -> str | list[str]:
        """Return the normal form of the text or the list."""
        return self._shape_of(value).normal(value)

    def schema(self) -> Schema:
        """Return the schema, which accepts text or a list."""
        return {"anyOf": [self._text.schema(), self._list.schema()]}

    def _shape_of(self, value: object) -> Text | ListOf[str]:
        if value == FURTHER_ARGUMENTS:
            return _FURTHER
        return self._text if isinstance(value, str) else self._list


_ESCAPES = {ord(sign): f"\\{sign}" for sign in r"$()*+.?[\]^{|}"}


def escaped(text: str) -> str:
    """Return a pattern that matches the text, in Python and in JavaScript, where only some characters are escaped."""
    return text.translate(_ESCAPES)


class Rule(Text):
    """A rule that extracts a value from the output of an agent, as `ipc/config/extract.py` describes."""

    def __init__(self, *kinds: str) -> None:
        """Accept rules that point into JSON, and `kinds`. A kind that ends in `~` takes a regular expression."""
        patterns = [escaped(kind) + (r"[\s\S]+" if kind.endswith("~") else "") for kind in kinds]
        forms = [f"{kind}REGEX" if kind.endswith("~") else kind for kind in kinds]
        expected = " or ".join([", ".join([*filter(None, forms), "json:PATH"]), "jsonl:PATH"])
        super().__init__(pattern="|".join([*patterns, POINTER]), expected=expected)

    def mismatch(self, value: object) -> str | None:
        """Return what is expected instead, such as a valid regular expression."""
        mismatch = super().mismatch(value)
        if mismatch or not str(value).startswith(("stdout~", "stderr~")):
            return mismatch
        return _regex_mismatch(str(value))


#: The rule for an agent that accepts a session ID that backburner has chosen.
ASSIGNED_SESSION = "{uuid}"

COMMAND = ListOf(Element(), non_empty=True)

RESUME = ListOf(Element(SESSION_PLACEHOLDER))

RESULT = Rule("stdout", "last-line", "stdout~")

SESSION = Rule("", ASSIGNED_SESSION)

#: Rules for the progress of a running task. They apply to the lines of JSON that it writes.
PROGRESS = Record("ProgressConfig", {name: ListOf(Rule()) for name in ("tool", "message", "tokens", "cost")})

ENVIRONMENT = MapOf(Text(), key=Text(pattern="[^=]+", expected="a name without ="))


def setting(default: object, shape: Shape[Any]) -> Any:
    """Declare a field of a configuration, with its default and its shape."""
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={"shape": shape})
    return field(default=default, metadata={"shape": shape})


#: The elements of a command. The elements in a tuple are left out together if one of their placeholders has no value.
Arguments = tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True)
class AgentConfig:
    """The settings of an agent: `[agents.NAME]`."""

    command: tuple[str | tuple[str, ...], ...] = setting((), COMMAND)
    #: The command of a task that continues the session of another one. Empty: the agent cannot do that.
    resume: tuple[str | tuple[str, ...], ...] = setting((), RESUME)
    stdin: str = setting("", Template())
    result: str = setting("stdout", RESULT)
    failed_if: tuple[str, ...] = setting((), ListOf(Rule("stdout~", "stderr~")))
    #: Rules for the message of a failure. The first one that finds text is used.
    error: tuple[str, ...] = setting((), ListOf(Rule("stdout~", "stderr~")))
    session: str = setting("", SESSION)
    progress: Mapping[str, Any] = setting({}, PROGRESS)
    model: str = setting("", Text())
    #: The timeout of a task whose launch names none. 0: task_timeout_s.
    timeout_s: float = setting(0, SECONDS)
    completion: str = setting("exit", OneOf("exit", "stable"))
    leave_children: bool = setting(False, Flag())
    env: Mapping[str, str] = setting({}, ENVIRONMENT)
    #: Names or patterns of variables that are stored from each launcher.
    pass_env: tuple[str, ...] = setting((), ListOf(NAME))
    #: The same for credentials, which are taken from a launcher only together: if it has any of them.
    credentials: tuple[str, ...] = setting((), ListOf(NAME))
    #: Further arguments of the command. They are put at `{args}` in it, or at its end.
    args: tuple[str, ...] = setting((), ListOf(Template()))
    #: The version of the agent that these settings were tried with. Empty: they were never tried.
    tried: str = setting("", Text())
    #: The Python that runs functions. Only the agent `python` has this. Empty: the Python of the supervisor.
    interpreter: str = setting("", Text())

    def __post_init__(self) -> None:
        """Turn lists into tuples, so that equal configurations are equal."""
        freeze(self)

    def to_json(self, base: AgentConfig | None = None) -> dict[str, Any]:
        """Return the settings that differ from the defaults or from `base`, as a file would have them."""
        changed = ((name, value) for name, value in values_of(self) if value != getattr(base or BLANK, name))
        return {name: plain(value) for name, value in changed}


def shapes_of(configuration: type[Any]) -> dict[str, Shape[Any]]:
    """Return the shape of each field of a configuration, by its name."""
    return {field.name: field.metadata["shape"] for field in fields(configuration)}


#: All fields of an agent, and the fields of an agent that is not built in.
AGENT_FIELDS = Record("AgentConfig", shapes_of(AgentConfig))

AGENT = Record("AgentConfig", {name: shape for name, shape in AGENT_FIELDS.fields.items() if name != "interpreter"})


def _fields_named(title: str, *names: str) -> Record:
    return Record(title, {name: AGENT_FIELDS.fields[name] for name in names})


#: The settings of the built-in agents. A file cannot change how they run.
BUILT_IN_AGENTS = {
    "command": _fields_named("CommandConfig", "env", "pass_env"),
    "python": _fields_named("PythonConfig", "interpreter", "env", "pass_env"),
    "external": Record("ExternalConfig", {}),
}


class Agents(MapOf[dict[str, Any]]):
    """The table `[agents]`. A built-in agent has fewer fields than others."""

    def __init__(self) -> None:
        name = Text(pattern=r"\w[\w.-]*", expected="a name of letters, digits, _ . -")
        super().__init__(AGENT, key=name)

    def shape_of(self, key: object) -> Shape[dict[str, Any]]:
        """Return the shape of an agent's settings."""
        return BUILT_IN_AGENTS.get(str(key), AGENT)

    def schema(self) -> Schema:
        """Return the schema, which names the built-in agents."""
        built_in = {name: shape.schema() for name, shape in BUILT_IN_AGENTS.items()}
        return super().schema() | {"properties": built_in}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by the values of `over`, key by key, also in nested tables."""
    both = dict(base)
    for key, value in over.items():
        tables = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if tables else value
    return both


def values_of(configuration: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each field."""
    return ((field.name, getattr(configuration, field.name)) for field in fields(configuration))


def freeze(configuration: Any) -> None:
    """Turn lists into tuples, so that equal configurations are equal, and copy tables."""
    for name, value in values_of(configuration):
        if isinstance(value, list | tuple):
            object.__setattr__(configuration, name, tuple(map(_frozen, value)))
        if isinstance(value, Mapping):
            object.__setattr__(configuration, name, dict(value))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Return a value of a configuration as plain JSON."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return list(map(plain, value)) if isinstance(value, tuple) else value


def agent_over_preset(name: str, given: AgentConfig | Mapping[str, Any]) -> AgentConfig:
    """Return an agent with the given settings. Its preset provides the others."""
    if isinstance(given, AgentConfig):
        return given
    return AgentConfig(**AGENT_FIELDS.normal(merged(preset_of(name).to_json(), given)))


def agents_over_presets(agents: object) -> Any:
    """Return the settings of each agent that differ from its preset. Invalid values stay for the validation."""
    if not isinstance(agents, Mapping):
        return plain(agents)
    return {
        name: agent.to_json(preset_of(name)) if isinstance(agent, AgentConfig) else plain(agent)
        for name, agent in agents.items()
    }


def preset_of(name: str) -> AgentConfig:
    """Return the settings of an agent that the configuration does not mention."""
    return AgentConfig(**AGENT_FIELDS.normal(preset(name))) if is_preset(name) else BLANK


def _regex_mismatch(rule: str) -> str | None:
    stream, _, pattern = rule.partition("~")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{stream}~ and a regular expression ({error})"
    return None


#: An agent with only the default settings.
BLANK = AgentConfig()
