"""What can be configured, where it is read from, and everything that is wrong with it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BadConfiguration, UnknownAgent
from ..validation import (
    Flag,
    Integer,
    ListOf,
    MapOf,
    Mistake,
    Number,
    OneOf,
    Record,
    Schema,
    Shape,
    Text,
    described,
    dotted,
)
from .extract import POINTER
from .presets import preset, presets

if TYPE_CHECKING:
    from ..home import Home

#: The agents that are always there.
BUILT_IN = ("command", "python", "external")
#: What a template may contain; the session's id only where there is one to go on in.
PLACEHOLDERS = ("prompt", "prompt_file", "model", "description", "task_id", "parent_session_id", "uuid")
SESSION_PLACEHOLDER = "session"
#: What the command that is told of a batch may contain.
BATCH_PLACEHOLDERS = ("parent_session_id", "message", "seq", "home")
#: What only the user's own file may say: a checkout that brings a file with it must not choose programs to run.
OWN = "on_batch"
#: A placeholder in a template; `${name}` is the shell's.
PLACEHOLDER = r"(?<!\$)\{([a-z_]+)\}"
#: The largest configuration file, in bytes.
FILE_LIMIT = 1024 * 1024

#: Defaults that are overridden key by key.
MODEL_CONCURRENCY = {"opus": 2, "sonnet": 3, "haiku": 5}

COUNT = Integer(0, 1_000_000)
ONE_OR_MORE = Integer(1, 1_000_000)
#: Times end at about ten years.
MILLISECONDS = Integer(0, 315_360_000_000)
SECONDS = Number(0, 315_360_000)
DAYS = Number(0, 3_650)
NAME = Text(non_empty=True)


class ConfigMistake(NamedTuple):
    """One mistake: in which file (or "flags", or ""), at which dotted key, and what was expected there."""

    file: str
    key: str
    expected: str
    got: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """«/home/me/backburner.toml: max_workers: expected a whole number of at least 1, got 0»."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        what = str(Mistake(self.key, self.expected, self.got))
        return f"{where}: {what}" if where else what


class ConfigurationMistakes(BadConfiguration):
    """The configuration has mistakes."""

    def __init__(self, mistakes: Sequence[ConfigMistake]) -> None:
        """Name them all, a line each (at least one)."""
        self.mistakes = tuple(mistakes)
        more = [f"The configuration has {len(mistakes)} mistakes:"] if len(mistakes) > 1 else []
        super().__init__("\n".join([*more, *map(str, mistakes)]), field=mistakes[0].key or None)


class Template(Text):
    """Text with placeholders, all of them known."""

    def __init__(self, *more: str) -> None:
        """Know `more` placeholders than the usual ones."""
        super().__init__()
        self._known = (*PLACEHOLDERS, *more)

    def missed(self, value: object) -> str | None:
        """A placeholder nobody fills would reach the program as it stands."""
        if missed := super().missed(value):
            return missed
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

    def wrong(self, value: object, field: str) -> Iterator[Mistake]:
        """As its kind says."""
        if isinstance(value, str | list | tuple):
            return self._shape_of(value).wrong(value, field)
        return super().wrong(value, field)

    def missed(self, value: object) -> str | None:
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

    def missed(self, value: object) -> str | None:
        """The regular expression must be one."""
        missed = super().missed(value)
        if missed or not str(value).startswith(("stdout~", "stderr~")):
            return missed
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
        _freeze(self)

    def to_json(self, base: AgentConfig | None = None) -> dict[str, Any]:
        """What differs from the defaults, or from `base`, as it would stand in a file."""
        said = ((name, value) for name, value in _values(self) if value != getattr(base or BLANK, name))
        return {name: _thawed(value) for name, value in said}


def _shapes(configuration: type[AgentConfig | BackgroundConfig]) -> dict[str, Shape[Any]]:
    return {one.name: one.metadata["shape"] for one in fields(configuration)}


#: All fields of an agent, and those of one that is not built in.
AGENT_FIELDS = Record("AgentConfig", _shapes(AgentConfig))
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


@dataclass(frozen=True)
class BackgroundConfig:
    """The whole configuration. Units are in the names; 0 is «no limit» or «off» where that makes sense.

    `model_concurrency` adds to the defaults for opus, sonnet and haiku, key by key. Raises BadConfiguration.
    """

    #: The agent of a prompt that names none; empty: such a prompt is refused.
    default_agent: str = setting("", Text())
    default_concurrency: int = setting(3, COUNT)
    #: Tasks with processes of ours that run at once, over all groups.
    max_workers: int = setting(16, ONE_OR_MORE)
    #: Unfinished tasks a parent may have.
    max_tasks_per_parent: int = setting(0, COUNT)
    #: `launch`, `run` and `retry` on the command line start a supervisor where none is running.
    autostart: bool = setting(True, Flag())
    polling_interval_ms: int = setting(2000, Integer(1, 315_360_000_000))
    stability_threshold: int = setting(3, ONE_OR_MORE)
    min_stability_time_ms: int = setting(10_000, MILLISECONDS)
    #: How often an agent's output is read for how far it is; 0: never.
    progress_interval_ms: int = setting(5000, MILLISECONDS)
    stale_timeout_ms: int = setting(2_700_000, MILLISECONDS)
    stale_action: str = setting("notify", OneOf("notify", "fail"))
    #: Per task and stream.
    output_limit_mb: int = setting(64, COUNT)
    notification_batch_window_ms: int = setting(1000, MILLISECONDS)
    notification_max_batch: int = setting(5, ONE_OR_MORE)
    max_queue_wait_s: float = setting(0, SECONDS)
    task_timeout_s: float = setting(0, SECONDS)
    retry_base_ms: int = setting(1000, MILLISECONDS)
    retry_max_ms: int = setting(300_000, MILLISECONDS)
    shutdown_grace_s: float = setting(30, SECONDS)
    kill_grace_s: float = setting(5, SECONDS)
    worker_idle_s: float = setting(10, SECONDS)
    #: "full" survives power loss, "normal" any crash of a process.
    durability: str = setting("full", OneOf("full", "normal"))
    retention_days: float = setting(30, DAYS)
    #: Names or patterns of what is stored from the launcher's environment.
    pass_env: tuple[str, ...] = setting((), ListOf(NAME))
    #: The command that is told of every batch, its JSON on stdin; only in the user's own file.
    on_batch: tuple[str, ...] = setting((), ListOf(BatchTemplate()))
    #: Limits by concurrency key or pattern.
    model_concurrency: Mapping[str, int] = setting({}, MapOf(COUNT, key=NAME))
    #: The configured agents, by name; those built in are there besides.
    agents: Mapping[str, AgentConfig] = setting({}, Agents())

    def __post_init__(self) -> None:
        """Complete, check and freeze: there is no configuration with mistakes."""
        if isinstance(limits := vars(self)["model_concurrency"], Mapping):
            object.__setattr__(self, "model_concurrency", merged(MODEL_CONCURRENCY, limits))
        _freeze(self)
        _refuse_mistakes(self.to_json())
        object.__setattr__(self, "agents", {name: _agent(name, one) for name, one in self.agents.items()})

    @classmethod
    def of(cls, given: BackgroundConfig | Mapping[str, object] | None) -> BackgroundConfig:
        """A configuration from a part of one, with the names of the files. Raises BadConfiguration."""
        if isinstance(given, BackgroundConfig):
            return given
        values = {} if given is None else given
        _refuse_mistakes(values)
        return cls(**CONFIG.normal(values))

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> BackgroundConfig:
        """What another process wrote with `to_json`. Raises BadConfiguration."""
        return cls.of(document)

    def to_json(self) -> dict[str, Any]:
        """Every setting, as plain JSON."""
        values = {name: _thawed(value) for name, value in _values(self) if name != "agents"}
        return values | {"agents": _said(self.agents)}

    @property
    def agent_names(self) -> tuple[str, ...]:
        """The agents there are: those built in, then those configured, then the presets."""
        return tuple(dict.fromkeys((*BUILT_IN, *self.agents, *presets())))

    def agent(self, name: str) -> AgentConfig:
        """How an agent is run. Raises UnknownAgent, which names those there are."""
        if name in self.agents:
            return self.agents[name]
        if name not in BUILT_IN and name not in self.agent_names:
            raise UnknownAgent(f"There is no agent {name!r}; there are {', '.join(self.agent_names)}.")
        return _base(name)


CONFIG = Record("BackgroundConfig", _shapes(BackgroundConfig))


class Reading(NamedTuple):
    """The configuration as far as it was usable (a file with mistakes does not count), and the mistakes."""

    config: BackgroundConfig
    mistakes: list[ConfigMistake]


class Document(NamedTuple):
    """One source of settings, as it stands: unchecked."""

    source: str
    values: Mapping[str, object]

    def mistakes(self) -> list[ConfigMistake]:
        """What is wrong with it, taken by itself."""
        found = [_located(mistake, self.source) for mistake in CONFIG.mistakes(self.values)]
        # empty it says nothing: a whole configuration that is handed on has every key
        return found + ([_misplaced(self)] if self.values.get(OWN) and not self._is_own() else [])

    def _is_own(self) -> bool:
        return self.source in map(str, _user_file())

    def sets(self, path: Sequence[str]) -> bool:
        """Whether it says anything at this path of keys."""
        found: object = self.values
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found is not None


def load(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> BackgroundConfig:
    """What is in force: defaults, files, then overrides. Raises BadConfiguration, naming all mistakes."""
    config, mistakes = read(home, cwd, overrides)
    if mistakes:
        raise ConfigurationMistakes(mistakes)
    return config


def check(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> list[ConfigMistake]:
    """Every mistake in every file, and in the overrides."""
    return read(home, cwd, overrides).mistakes


def read(home: Home, cwd: Path | None = None, overrides: Mapping[str, object] | None = None) -> Reading:
    """What can be used, and what is wrong with the rest: for commands that go on with a warning."""
    readings = [read_file(path) for path in sources(home, cwd)]
    documents = [one for one in readings if isinstance(one, Document)]
    if overrides is not None:
        documents.append(Document("flags", overrides))
    unreadable = [one for one in readings if isinstance(one, ConfigMistake)]
    mistakes = [*unreadable, *chain.from_iterable(one.mistakes() for one in documents)]
    if not unreadable:  # an agent that seems missing may stand in a file that could not be read
        mistakes += _joint_mistakes(documents)
    return Reading(_usable([one for one in documents if not one.mistakes()]), mistakes)


def sources(home: Home, cwd: Path | None = None) -> list[Path]:
    """The files that count and are there, the weakest first; the project's is sought from `cwd` upward."""
    candidates = [*_user_file(), *_project_file(cwd), home.config]
    return [path for path in candidates if os.path.lexists(path)]


def read_file(path: Path) -> Document | ConfigMistake:
    """A file's settings, or why there are none."""
    import tomllib

    text = _text(path)
    if isinstance(text, ConfigMistake):
        return text
    try:
        return Document(str(path), tomllib.loads(text))
    except ValueError as error:  # of which TOML's own error is one
        return _syntax_mistake(path, text, str(error))
    except RecursionError:
        return ConfigMistake(str(path), "", "TOML that is not nested so deep")


def on_batch() -> tuple[str, ...]:
    """The command that the user wants told of every batch, read from the user's own file alone; empty: none."""
    for path in _user_file():
        found = read_file(path) if path.exists() else None
        if isinstance(found, Document) and not found.mistakes():
            return BackgroundConfig.of({OWN: found.values.get(OWN, [])}).on_batch
    return ()


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `over` winning key by key, tables within tables too."""
    both = dict(base)
    for key, value in over.items():
        tables = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if tables else value
    return both


class Inconsistency(NamedTuple):
    """What is wrong with a whole though every part of it is right."""

    path: tuple[str, ...]
    expected: str
    got: str

    @property
    def mistake(self) -> Mistake:
        """It, with the path written out."""
        return Mistake(reduce(dotted, self.path, ""), self.expected, self.got)


def inconsistencies(values: Mapping[str, object]) -> Iterator[Inconsistency]:
    """Agents without a command, and a default agent that there is not. Takes any rubbish."""
    table = values.get("agents")
    agents = table if isinstance(table, Mapping) else {}
    for name, agent in agents.items():
        known = name in BUILT_IN or name in presets()
        if not known and isinstance(agent, Mapping) and "command" not in agent:
            yield Inconsistency(("agents", name, "command"), COMMAND.expected, "nothing")
    chosen, there = values.get("default_agent"), [*BUILT_IN, *map(str, agents), *presets()]
    if isinstance(chosen, str) and chosen and chosen not in there:
        yield Inconsistency(("default_agent",), f"one of {', '.join(dict.fromkeys(there))}", described(chosen))


def _joint_mistakes(documents: Sequence[Document]) -> Iterator[ConfigMistake]:
    """What is wrong with all documents together, blamed on the last one that has to do with it."""
    for found in inconsistencies(_together(documents)):
        blamed = [one.source for one in documents if one.sets(found.path[:2])]
        yield _located(found.mistake, blamed[-1])


def _together(documents: Sequence[Document]) -> dict[str, Any]:
    empty: dict[str, Any] = {}
    return reduce(merged, (one.values for one in documents), empty)


def _usable(documents: Sequence[Document]) -> BackgroundConfig:
    try:
        return BackgroundConfig.of(_together(documents))
    except BadConfiguration:
        return DEFAULT_BACKGROUND_CONFIG


def _refuse_mistakes(values: Mapping[str, object]) -> None:
    found = CONFIG.mistakes(values)
    if isinstance(values, Mapping):
        found += [one.mistake for one in inconsistencies(values)]
    if found:
        raise ConfigurationMistakes([_located(mistake, "") for mistake in found])


def _located(mistake: Mistake, source: str) -> ConfigMistake:
    return ConfigMistake(source, mistake.field, mistake.expected, mistake.got)


def _misplaced(document: Document) -> ConfigMistake:
    own = " or ".join(map(str, _user_file()))
    return ConfigMistake(
        document.source, OWN, f"it in the user's own file alone ({own})", described(document.values[OWN])
    )


def _values(configuration: AgentConfig | BackgroundConfig) -> Iterator[tuple[str, Any]]:
    return ((one.name, getattr(configuration, one.name)) for one in fields(configuration))


def _freeze(configuration: AgentConfig | BackgroundConfig) -> None:
    """Make lists tuples, so that equal configurations are equal, and tables our own."""
    for name, value in _values(configuration):
        if isinstance(value, list | tuple):
            object.__setattr__(configuration, name, tuple(map(_frozen, value)))
        if isinstance(value, Mapping):
            object.__setattr__(configuration, name, dict(value))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    """Plain JSON."""
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    return list(map(_thawed, value)) if isinstance(value, tuple) else value


def _agent(name: str, given: AgentConfig | Mapping[str, Any]) -> AgentConfig:
    """What is said of an agent, over its preset."""
    if isinstance(given, AgentConfig):
        return given
    return AgentConfig(**AGENT_FIELDS.normal(merged(_base(name).to_json(), given)))


def _said(agents: object) -> Any:
    """What is said of each agent over its preset; rubbish as it stands, to be refused."""
    if not isinstance(agents, Mapping):
        return _thawed(agents)
    return {
        name: one.to_json(_base(name)) if isinstance(one, AgentConfig) else _thawed(one) for name, one in agents.items()
    }


def _base(name: str) -> AgentConfig:
    """What an agent is of which the configuration says nothing."""
    return AgentConfig(**AGENT_FIELDS.normal(preset(name))) if name in presets() else BLANK


def _user_file() -> list[Path]:
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = folder if folder.is_absolute() else Path.home() / ".config"
    except RuntimeError:  # nobody knows where this user is at home
        return []
    return [folder / "backburner" / "config.toml"]


def _project_file(cwd: Path | None) -> list[Path]:
    try:
        start = (cwd or Path()).absolute()
    except FileNotFoundError:  # the current folder was removed
        return []
    candidates = (folder / "backburner.toml" for folder in (start, *start.parents))
    return [path for path in candidates if os.path.lexists(path)][:1]


def _text(path: Path) -> str | ConfigMistake:
    try:
        raw = _trusted_bytes(path)
        return raw if isinstance(raw, ConfigMistake) else raw.decode()
    except UnicodeDecodeError as error:
        return ConfigMistake(str(path), "", "UTF-8", line=error.object.count(b"\n", 0, error.start) + 1)
    except OSError as error:
        return ConfigMistake(str(path), "", "a file that can be read", error.strerror or str(error))


def _trusted_bytes(path: Path) -> bytes | ConfigMistake:
    """What is in the file that was looked at, not in one that took its place; never waits for a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if distrust := _distrust(os.fstat(handle)):
            return ConfigMistake(str(path), "", *distrust)
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _distrust(found: os.stat_result) -> tuple[str, str] | None:
    """What a file should have been, to be believed, and is instead."""
    if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_LIMIT:
        return f"a regular file of at most {FILE_LIMIT} bytes", "something else"
    if found.st_uid not in (os.geteuid(), 0):
        return "a file of yours or of root's", f"one that belongs to uid {found.st_uid}"
    if found.st_mode & 0o022:
        return "a file that others may not write (chmod go-w)", f"mode {stat.S_IMODE(found.st_mode):04o}"
    return None


def _syntax_mistake(path: Path, text: str, message: str) -> ConfigMistake:
    place = re.search(r"at line (\d+)", message)
    line = int(place[1]) if place else text.count("\n") + 1
    return ConfigMistake(str(path), "", f"valid TOML ({message})", line=line)


def _regex_flaw(rule: str) -> str | None:
    stream, _, pattern = rule.partition("~")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{stream}~ and a regular expression ({error})"
    return None


#: What an agent is of which nothing is said.
BLANK = AgentConfig()
DEFAULT_BACKGROUND_CONFIG = BackgroundConfig()
