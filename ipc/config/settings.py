"""The settings of the configuration: their names, defaults and shapes, and the checks that involve several of them."""

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
    plain,
    preset_of,
    setting,
    shapes_of,
    values_of,
)
from .presets import is_preset, presets

#: The settings that are accepted only in the user's own file. A file in a checkout must not choose programs to run, or
#: what other projects may do.
USER_ONLY = ("on_batch", "shared_limits")

#: Default limits, which a configuration overrides key by key.
MODEL_CONCURRENCY = {"opus": 2, "sonnet": 3, "haiku": 5}

COUNT = Integer(0, 1_000_000)

#: Each slot of a shared limit is a lock that is tried.
SHARED = Integer(0, 1000)

ONE_OR_MORE = Integer(1, 1_000_000)

#: Durations of up to about ten years.
MILLISECONDS = Integer(0, 315_360_000_000)

DAYS = Number(0, 3_650)


class ConfigMistake(NamedTuple):
    """A mistake in the configuration. `file` is "flags" for overrides, and empty for settings without a source."""

    file: str
    key: str
    expected: str
    got: str = ""
    line: int | None = None

    def __str__(self) -> str:
        """Return a line like «/home/me/backburner.toml: max_workers: expected a whole number of at least 1, got 0»."""
        location = f"{self.file}:{self.line}" if self.line else self.file
        mistake = str(Mistake(self.key, self.expected, self.got))
        return f"{location}: {mistake}" if location else mistake


class ConfigurationMistakes(BadConfiguration):
    """The configuration has mistakes."""

    def __init__(self, mistakes: Sequence[ConfigMistake]) -> None:
        """Name all mistakes (at least one), each on its own line."""
        self.mistakes = tuple(mistakes)
        heading = [f"The configuration has {len(mistakes)} mistakes:"] if len(mistakes) > 1 else []
        super().__init__("\n".join([*heading, *map(str, mistakes)]), field=mistakes[0].key or None)


@dataclass(frozen=True)
class BackgroundConfig:
    """The whole configuration. Names include their units. 0 means «no limit» or «off» where that makes sense.

    `model_concurrency` is merged with the default limits of opus, sonnet and haiku.

    Raises:
        BadConfiguration: A setting is wrong. The message names all mistakes.
    """

    #: The agent for prompts that name none. If empty, such prompts are refused.
    default_agent: str = setting("", Text())
    default_concurrency: int = setting(3, COUNT)
    #: The maximum number of tasks that run in worker processes at the same time, over all keys.
    max_workers: int = setting(16, ONE_OR_MORE)
    #: The maximum number of unfinished tasks of a parent session.
    max_tasks_per_parent: int = setting(0, COUNT)
    #: `launch`, `run` and `retry` on the command line start a supervisor if none is running.
    autostart: bool = setting(True, Flag())
    polling_interval_ms: int = setting(2000, Integer(1, 315_360_000_000))
    stability_threshold: int = setting(3, ONE_OR_MORE)
    min_stability_time_ms: int = setting(10_000, MILLISECONDS)
    #: The interval at which the progress of an agent is read from its output. 0: never.
    progress_interval_ms: int = setting(5000, MILLISECONDS)
    stale_timeout_ms: int = setting(2_700_000, MILLISECONDS)
    stale_action: str = setting("notify", OneOf("notify", "fail"))
    #: The maximum output that is kept per task and stream.
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
    #: "full" survives a power loss, "normal" any crash of a process.
    durability: str = setting("full", OneOf("full", "normal"))
    retention_days: float = setting(30, DAYS)
    #: Names or patterns of further variables of the launcher's environment that are stored with a task.
    pass_env: tuple[str, ...] = setting((), ListOf(NAME))
    #: The command that runs for every batch, with the batch as JSON on stdin. See `USER_ONLY`.
    on_batch: tuple[str, ...] = setting((), ListOf(BatchTemplate()))
    #: Limits by key or pattern.
    model_concurrency: Mapping[str, int] = setting({}, MapOf(COUNT, key=NAME))
    #: Limits by key or pattern that hold over all state directories of the user together. See `USER_ONLY`.
    shared_limits: Mapping[str, int] = setting({}, MapOf(SHARED, key=NAME))
    #: The configured agents, by name. The built-in agents need no entry.
    agents: Mapping[str, AgentConfig] = setting({}, Agents())

    def __post_init__(self) -> None:
        """Complete and check the settings, and make them immutable. Raises BadConfiguration."""
        if isinstance(limits := vars(self)["model_concurrency"], Mapping):
            object.__setattr__(self, "model_concurrency", merged(MODEL_CONCURRENCY, limits))
        freeze(self)
        _refuse_mistakes(self.to_json())
        agents = {name: agent_over_preset(name, agent) for name, agent in self.agents.items()}
        object.__setattr__(self, "agents", agents)

    @classmethod
    def of(cls, given: BackgroundConfig | Mapping[str, object] | None) -> BackgroundConfig:
        """Return the configuration with these settings, and defaults for all others. Raises BadConfiguration."""
        if isinstance(given, BackgroundConfig):
            return given
        values = {} if given is None else given
        _refuse_mistakes(values)
        return cls(**CONFIG.normal(values))

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> BackgroundConfig:
        """Return the configuration that another process wrote with `to_json`. Raises BadConfiguration."""
        return cls.of(document)

    def to_json(self) -> dict[str, Any]:
        """Return all settings as plain JSON."""
        values = {name: plain(value) for name, value in values_of(self) if name != "agents"}
        return values | {"agents": agents_over_presets(self.agents)}

    @property
    def agent_names(self) -> tuple[str, ...]:
        """Return the names of all agents: the built-in agents, the configured agents and the presets."""
        return tuple(dict.fromkeys((*BUILT_IN, *self.agents, *presets())))

    def agent(self, name: str) -> AgentConfig:
        """Return the settings of an agent. Raises UnknownAgent, which names the existing agents."""
        if name in self.agents:
            return self.agents[name]
        if name not in BUILT_IN and name not in self.agent_names:
            raise UnknownAgent(f"There is no agent {name!r}; known agents: {', '.join(self.agent_names)}.")
        return preset_of(name)


CONFIG = Record("BackgroundConfig", shapes_of(BackgroundConfig))


class Inconsistency(NamedTuple):
    """A contradiction between settings, each of which is valid alone."""

    path: tuple[str, ...]
    expected: str
    got: str

    @property
    def mistake(self) -> Mistake:
        """Return the mistake, with the path as a dotted name."""
        return Mistake(reduce(dotted, self.path, ""), self.expected, self.got)


def inconsistencies(values: Mapping[str, object]) -> Iterator[Inconsistency]:
    """Yield a mistake for each agent without a command, and for a default agent that does not exist.

    The values may be invalid.
    """
    table = values.get("agents")
    agents = table if isinstance(table, Mapping) else {}
    for name, agent in agents.items():
        known = name in BUILT_IN or is_preset(name)
        if not known and isinstance(agent, Mapping) and "command" not in agent:
            yield Inconsistency(("agents", name, "command"), COMMAND.expected, "nothing")
    chosen = values.get("default_agent")
    if isinstance(chosen, str) and chosen and not (chosen in BUILT_IN or chosen in agents or is_preset(chosen)):
        existing = [*BUILT_IN, *map(str, agents), *presets()]
        yield Inconsistency(("default_agent",), f"one of {', '.join(dict.fromkeys(existing))}", describe(chosen))


def _refuse_mistakes(values: Mapping[str, object]) -> None:
    mistakes = CONFIG.mistakes(values)
    if isinstance(values, Mapping):
        mistakes += [inconsistency.mistake for inconsistency in inconsistencies(values)]
    if mistakes:
        raise ConfigurationMistakes([located(mistake, "") for mistake in mistakes])


def located(mistake: Mistake, source: str) -> ConfigMistake:
    """Return a mistake with the source in which it was found."""
    return ConfigMistake(source, mistake.field, mistake.expected, mistake.got)


DEFAULT_BACKGROUND_CONFIG = BackgroundConfig()
