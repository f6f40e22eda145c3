"""The values that a launch takes from the process that launches: its environment, umask and interpreter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import tee
from typing import NamedTuple

from ..model.launch import LaunchInput
from .agents import AgentConfig
from .environment import ALWAYS_STORED, Wanted, captured
from .presets import is_preset, preset
from .settings import BackgroundConfig

#: The variables of calls that come from the launcher, if it has them.
_OF_CALLS = ("PYTHONPATH",)


class Launcher(NamedTuple):
    """The process that launches tasks.

    `interpreter` is stored with calls. `wanted` are the variables to take, by default those that the configuration
    and the agent name.
    """

    environ: Mapping[str, str]
    umask: str | None = None
    interpreter: str | None = None
    wanted: Wanted | None = None

    def complete(self, launch: LaunchInput, agent: str, config: BackgroundConfig) -> LaunchInput:
        """Return a launch of this agent with what it takes from this process."""
        variables, dropped = captured(self.environ, self.wanted or wanted_by(agent, config))
        if launch.env or launch.secret_env:
            variables = {name: value for name, value in variables.items() if name not in launch.secret_env}
            dropped = tuple(
                name for name in dropped if name not in (launch.env or ()) and name not in launch.secret_env
            )
        return launch.changed(
            {
                "launcher_env": variables,
                "env_dropped": dropped,
                "umask": launch.umask or self.umask,
                "interpreter": launch.interpreter or (self.interpreter if launch.call else None),
            }
        )


def wanted_by(agent: str, config: BackgroundConfig) -> Wanted:
    """Return the variables that a launch of this agent takes from the launcher. Raises UnknownAgent."""
    settings = config.agent(agent)
    return Wanted((*ALWAYS_STORED, *config.pass_env, *settings.pass_env), credentials_of(agent, settings))


def credentials_of(name: str, agent: AgentConfig) -> tuple[str, ...]:
    """Return the patterns of the variables that hold the credentials and the configuration of an agent.

    An agent that is not a preset but runs the program of one has those of that preset.
    """
    if name == "python":
        return _OF_CALLS
    if agent.credentials or not agent.command:
        return agent.credentials
    program = os.path.basename(str(agent.command[0]))
    return tuple(preset(program).get("credentials", ())) if is_preset(program) else ()


def own_umask() -> str:
    """Return the umask of this process, in octal.

    It can only be read by setting it. All of this runs in C without a release of the interpreter lock, so that no
    other thread of Python sees the value between.
    """
    before, again = tee(map(os.umask, (0o077,)))
    next(map(os.umask, before))
    return f"{next(again):04o}"
