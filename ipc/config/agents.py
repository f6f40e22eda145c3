"""Agents: how each one is run, and what a configuration file may say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..mistakes import Mistake
from ..validation import Flag, ListOf, MapOf, Number, OneOf, Record, Schema, Shape, Text
from .extract import POINTER
from .presets import preset, presets

#: The agents that are always there.
BUILT_IN = ("command", "python", "external")


#: What a template may contain; the session's id only where there is one to go on in.
PLACEHOLDERS = ("prompt", "prompt_file", "model", "description", "task_id", "parent_session_id", "uuid")


SESSION_PLACEHOLDER = "session"


#: What the command that is told of a batch may contain.
BATCH_PLACEHOLDERS = ("parent_session_id", "message", "seq", "home")


#: A placeholder in a template; `${name}` is the shell's.
PLACEHOLDER = r"(?<!\$)\{([a-z_]+)\}"


SECONDS = Number(0, 315_360_000)


NAME = Text(non_empty=True)


class Template(Text):
    """Text with placeholders, all of them known."""

    def __init__(self, *more: str) -> None:
        """Know `more` placeholders than the usual ones."""
        super().__init__()
        self._known = (*PLACEHOLDERS, *more)

    def mismatch(self, value: object) -> str | None:
        """A placeholder nobody fills would reach the program as it stands."""
        if mismatch := super().mismatch(value):
            return mismatch
        unknown = set(re.findall(PLACEHOLDER, str(value))) - set(self._known)
        known = " ".join(f"{{{name}}}" for name in self._known)
        return f"no other placeholders than {known}" if unknown else None


class BatchTemplate(Template):
    """As a template, of what is known of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self._known = BATCH_PLACEHOLDERS


class Element(Shape[str | list[str]]):
    """An element of a command, or a list of some that are left out together where one has nothing to fill in."""

    expected = "text or a list of text"

    def __init__(self, *more: str) -> None:
        self._one, self._some = Template(*more), ListOf(Template(*more), non_empty=True)

    def fits(self, value: object) -> bool:
        """Return True if the text, or the list, is valid."""
        return isinstance(value, str | list | tuple) and self._shape_of(value).fits(value)

    def iter_mistakes(self, value: object, field: str) -> Iterator[Mistake]:
        """As its kind says."""
        if isinstance(value, str | list | tuple):
            return self._shape_of(value).iter_mistakes(value, field)
        return super().iter_mistakes(value, field)

    def mismatch(self, value: object) -> str | None:
        """Neither of both."""
        return None if isinstance(value, str | list | tuple) else self.expected

    def normal(self, value: object) -> str | list[str]:
        """As its kind says."""
        return self._shape_of(value).normal(value)

    def schema(self) -> Schema:
        """Either."""
        return {"anyOf": [self._one.schema(), self._some.schema()]}

    def _shape_of(self, value: object) -> Template | ListOf[str]:
        return self._one if isinstance(value, str) else self._some


class Rule(Text):
    """Where something is told in a program's output; see ipc/config/extract.py"""

    def __init__(self, *kinds: str) -> None:
        """`json:PATH` and its like, or one of `kinds`: one that ends in `~` is followed by a regular expression."""
        patterns = [re.escape(kind) + (r"[\s\S]+" if kind.endswith("~") else "") for kind in kinds]
        words = [f"{kind}REGEX" if kind.endswith("~") else kind for kind in kinds]
        expected = " or ".join([", ".join([*filter(None, words), "json:PATH"]), "jsonl:PATH"])
        super().__init__(pattern="|".join([*patterns, POINTER]), expected=expected)

    def mismatch(self, value: object) -> str | None:
        """The regular expression must be one."""
        mismatch = super().mismatch(value)
        if mismatch or not str(value).startswith(("stdout~", "stderr~")):
            return mismatch
        return _regex_flaw(str(value))


#: The name of the session that we give an agent, where it can be given one.
OWN_SESSION = "{uuid}"


COMMAND = ListOf(Element(), non_empty=True)


RESUME = ListOf(Element(SESSION_PLACEHOLDER))


RESULT = Rule("stdout", "last-line", "stdout~")


SESSION = Rule("", OWN_SESSION)


#: What is told of a task while it runs, from the lines of JSON that it writes.
PROGRESS = Record("ProgressConfig", {name: ListOf(Rule()) for name in ("tool", "message", "tokens", "cost")})


ENVIRONMENT = MapOf(Text(), key=Text(pattern="[^=]+", expected="a name without ="))


def setting(default: object, shape: Shape[Any]) -> Any:
    """A field of a configuration: what it is when nobody says, and what may be said."""
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={"shape": shape})
    return field(default=default, metadata={"shape": shape})


#: A command's elements; those in a tuple are left out together where a placeholder has nothing to fill in.
Arguments = tuple[str | tuple[str, ...], ...]


@dataclass(frozen=True)
class AgentConfig:
    """How an agent is run: `[agents.NAME]`."""

    command: tuple[str | tuple[str, ...], ...] = setting((), COMMAND)
    #: The command of a task that goes on in the session of another; empty: this agent cannot.
    resume: tuple[str | tuple[str, ...], ...] = setting((), RESUME)
    stdin: str = setting("", Template())
    result: str = setting("stdout", RESULT)
    failed_if: tuple[str, ...] = setting((), ListOf(Rule("stdout~", "stderr~")))
    #: Where the cause of a failure is told, the best place first.
    error: tuple[str, ...] = setting((), ListOf(Rule("stdout~", "stderr~")))
    session: str = setting("", SESSION)
    progress: Mapping[str, Any] = setting({}, PROGRESS)
    model: str = setting("", Text())
    #: A task's timeout where its launch names none; 0: task_timeout_s.
    timeout_s: float = setting(0, SECONDS)
    completion: str = setting("exit", OneOf("exit", "stable"))
    leave_children: bool = setting(False, Flag())
    env: Mapping[str, str] = setting({}, ENVIRONMENT)
    #: The version that these settings were tried with; empty: never tried.
    tried: str = setting("", Text())
    #: The Python that runs callables; only for the agent `python`. Empty: the supervisor's.
    interpreter: str = setting("", Text())

    def __post_init__(self) -> None:
        """Make lists tuples, so that equal configurations are equal."""
        freeze(self)

    def to_json(self, base: AgentConfig | None = None) -> dict[str, Any]:
        """What differs from the defaults, or from `base`, as it would stand in a file."""
        said = ((name, value) for name, value in values_of(self) if value != getattr(base or BLANK, name))
        return {name: thawed(value) for name, value in said}


def shapes_of(configuration: type[Any]) -> dict[str, Shape[Any]]:
    """Return the shape of each field of a configuration, by its name."""
    return {one.name: one.metadata["shape"] for one in fields(configuration)}


#: All fields of an agent, and those of one that is not built in.
AGENT_FIELDS = Record("AgentConfig", shapes_of(AgentConfig))


AGENT = Record("AgentConfig", {name: one for name, one in AGENT_FIELDS.fields.items() if name != "interpreter"})


#: What may be set of the agents that are built in: how they run is not for a file to say.
BUILT_IN_AGENTS = {
    "command": Record("CommandConfig", {"env": ENVIRONMENT}),
    "python": Record("PythonConfig", {"interpreter": AGENT_FIELDS.fields["interpreter"], "env": ENVIRONMENT}),
    "external": Record("ExternalConfig", {}),
}


class Agents(MapOf[dict[str, Any]]):
    """The table `[agents]`: a built-in agent has fewer fields than others."""

    def __init__(self) -> None:
        name = Text(pattern=r"\w[\w.-]*", expected="a name of letters, digits, _ . -")
        super().__init__(AGENT, key=name)

    def shape_of(self, key: object) -> Shape[dict[str, Any]]:
        """The fields of one agent."""
        return BUILT_IN_AGENTS.get(str(key), AGENT)

    def schema(self) -> Schema:
        """The built-in agents by name, all others alike."""
        built_in = {name: shape.schema() for name, shape in BUILT_IN_AGENTS.items()}
        return super().schema() | {"properties": built_in}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `over` winning key by key, tables within tables too."""
    both = dict(base)
    for key, value in over.items():
        tables = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if tables else value
    return both


def values_of(configuration: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each field."""
    return ((one.name, getattr(configuration, one.name)) for one in fields(configuration))


def freeze(configuration: Any) -> None:
    """Make lists tuples, so that equal configurations are equal, and tables our own."""
    for name, value in values_of(configuration):
        if isinstance(value, list | tuple):
            object.__setattr__(configuration, name, tuple(map(_frozen, value)))
        if isinstance(value, Mapping):
            object.__setattr__(configuration, name, dict(value))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def thawed(value: Any) -> Any:
    """Plain JSON."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return list(map(thawed, value)) if isinstance(value, tuple) else value


def agent_over_preset(name: str, given: AgentConfig | Mapping[str, Any]) -> AgentConfig:
    """What is said of an agent, over its preset."""
    if isinstance(given, AgentConfig):
        return given
    return AgentConfig(**AGENT_FIELDS.normal(merged(preset_of(name).to_json(), given)))


def agents_over_presets(agents: object) -> Any:
    """What is said of each agent over its preset; rubbish as it stands, to be refused."""
    if not isinstance(agents, Mapping):
        return thawed(agents)
    return {
        name: one.to_json(preset_of(name)) if isinstance(one, AgentConfig) else thawed(one)
        for name, one in agents.items()
    }


def preset_of(name: str) -> AgentConfig:
    """What an agent is of which the configuration says nothing."""
    return AgentConfig(**AGENT_FIELDS.normal(preset(name))) if name in presets() else BLANK


def _regex_flaw(rule: str) -> str | None:
    stream, _, pattern = rule.partition("~")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{stream}~ and a regular expression ({error})"
    return None


#: What an agent is of which nothing is said.
BLANK = AgentConfig()
