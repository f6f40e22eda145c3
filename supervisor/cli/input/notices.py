"""Notices on stderr about tasks that will lack a program or credentials."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from ....ipc.config.agents import BUILT_IN
from ....ipc.config.environment import is_storable, matches, named
from ....ipc.config.launcher import credentials_of, wanted_by
from ....ipc.config.presets import is_preset
from ....ipc.config.settings import BackgroundConfig
from ....ipc.errors import BackburnerError
from ....ipc.machine.presence import Presence
from ....ipc.machine.proc import environment
from ....ipc.model.launch import LaunchInput
from ....ipc.store.launch import agent_of
from ..context import Context
from ..printing import note


def note_doubts(context: Context, inputs: Sequence[LaunchInput], options: Mapping[str, Any]) -> None:
    """Print a notice for each variable and program that the queued tasks will lack, each once."""
    unstorable = [] if _all_storable() else [name for name in os.environ if not is_storable(name + os.environ[name])]
    notices = chain.from_iterable(_notices(context, launch, options, unstorable) for launch in inputs)
    for text in dict.fromkeys(notices):
        note(text)


def _all_storable() -> bool:
    """Return True if all variables are UTF-8, as in most launches. This decodes them at once."""
    try:
        b"".join(chain.from_iterable(os.environb.items())).decode()
    except UnicodeDecodeError:
        return False
    return True


def _notices(
    context: Context, launch: LaunchInput, options: Mapping[str, Any], unstorable: Sequence[str]
) -> Iterator[str]:
    config = context.valid_config
    try:
        agent = agent_of(launch, config)
    except BackburnerError:  # an agent of the supervisor's configuration, or a follow-up
        return
    if unstorable:
        wanted = wanted_by(agent, config)
        lost = [name for name in unstorable if options["inherit_env"] or matches(name, (*wanted.always, *wanted.group))]
        if lost:
            names = ", ".join(name.encode(errors="replace").decode() for name in lost)
            yield f"not handed on, because it is not valid UTF-8: {names}"
    yield from _missing_secrets(context, launch)
    if agent not in BUILT_IN:
        yield from _missing_program(launch, agent, config)
    elif launch.command is not None:
        yield from _missing_credentials(context, launch)


def _missing_program(launch: LaunchInput, agent: str, config: BackgroundConfig) -> Iterator[str]:
    """Yield a notice if the program of an agent is not found in the PATH of its task."""
    import shutil  # only a prompt needs it

    settings = config.agent(agent)
    program = str(settings.command[0])
    path = (launch.env or {}).get("PATH") or settings.env.get("PATH") or os.environ.get("PATH")
    if shutil.which(os.path.join(launch.cwd or "", program) if "/" in program else program, path=path) is None:
        yield f"{program} is not installed, so the task will fail (in the task's PATH: {path or os.defpath})"


def _missing_secrets(context: Context, launch: LaunchInput) -> Iterator[str]:
    """Yield a notice if a variable of `--secret` is missing where the task takes it from.

    Without a supervisor, this command starts one, which gets the environment of this command.
    """
    supervisor = Presence(context.home).holder("supervisor") if launch.secret_env else None
    there = environment(supervisor) if supervisor else os.environ
    lost = [name for name in launch.secret_env if there and name not in there]
    if lost:
        yield (
            f"the supervisor has no {', '.join(lost)}, so the task will run without it; "
            "to restart it where the variable is set: backburner down && backburner up --detach"
        )


def _missing_credentials(context: Context, launch: LaunchInput) -> Iterator[str]:
    """Yield a notice if a command is the program of an agent, and the agent's credentials do not travel."""
    program = os.path.basename((launch.command or ("",))[0])
    if not is_preset(program):
        return
    config = context.valid_config
    stored = wanted_by("command", config).always
    credentials = credentials_of(program, config.agent(program))
    needed = [
        name
        for name in named(os.environ, credentials)
        if not (matches(name, stored) or name in (launch.env or {}) or name in launch.secret_env)
    ]
    supervisor = Presence(context.home).holder("supervisor") if needed else None
    there = environment(supervisor) if supervisor else {}
    lost = [name for name in needed if supervisor and there.get(name) != os.environ[name]]
    if lost:
        first = lost[0]
        yield (
            f"the task gets the supervisor's {', '.join(lost)}, not the value here; "
            f"use --env {first}, or --agent {program}"
        )
