"""The settings: names, defaults, and the rules between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from ..errors import BadConfiguration, UnknownAgent
from ..mistakes import Mistake, describe, dotted
from ..validation import Flag, Integer, ListOf, MapOf, Number, OneOf, Record, Text
from .agents import (
    BUILT_IN,
    COMMAND,
    NAME,
    SECONDS,
    AgentConfig,
    Agents,
    BatchTemplate,
    agent_over_preset,
    agents_over_presets,
    freeze,
    merged,
    preset_of,
    setting,
    shapes_of,
    thawed,
    values_of,
)
from .presets import presets

#: What only the user's own file may say: a checkout that brings a file with it must not choose programs to run.
OWN = "on_batch"


#: Defaults that are overridden key by key.
MODEL_CONCURRENCY = {"opus": 2, "sonnet": 3, "haiku": 5}


COUNT = Integer(0, 1_000_000)


ONE_OR_MORE = Integer(1, 1_000_000)


#: Times end at about ten years.
MILLISECONDS = Integer(0, 315_360_000_000)


DAYS = Number(0, 3_650)


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
        freeze(self)
        _refuse_mistakes(self.to_json())
        object.__setattr__(self, "agents", {name: agent_over_preset(name, one) for name, one in self.agents.items()})

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
        values = {name: thawed(value) for name, value in values_of(self) if name != "agents"}
        return values | {"agents": agents_over_presets(self.agents)}

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
        return preset_of(name)


CONFIG = Record("BackgroundConfig", shapes_of(BackgroundConfig))


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
        yield Inconsistency(("default_agent",), f"one of {', '.join(dict.fromkeys(there))}", describe(chosen))


def _refuse_mistakes(values: Mapping[str, object]) -> None:
    found = CONFIG.mistakes(values)
    if isinstance(values, Mapping):
        found += [one.mistake for one in inconsistencies(values)]
    if found:
        raise ConfigurationMistakes([located(mistake, "") for mistake in found])


def located(mistake: Mistake, source: str) -> ConfigMistake:
    """Return a mistake with the source that it was found in."""
    return ConfigMistake(source, mistake.field, mistake.expected, mistake.got)


DEFAULT_BACKGROUND_CONFIG = BackgroundConfig()
