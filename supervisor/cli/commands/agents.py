"""`agents` and `agents show`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import click

from ....ipc.config.agents import BUILT_IN
from ....ipc.config.presets import presets, text
from ....ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
from ....ipc.errors import InvalidInput
from ..context import Context
from ..options import example, json_option
from ..printing import print_json
from ..tables import FIXED, Column, format_table

#: Seconds that a program may take to print its version. Programs on Node.js take two on a busy machine.
VERSION_TIMEOUT = 15.0

#: An element of a command's template. A list is left out as a whole if a placeholder in it is empty.
Element = str | Sequence[str]


@dataclass(frozen=True)
class Agent:
    """A configured agent. `installed` is the path of its program, and `tried` the version it was tested with."""

    name: str
    installed: str | None
    version: str | None
    tried: str | None
    resumes: bool
    command: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return an element of `agents --json`."""
        return asdict(self)


@click.group("agents", invoke_without_command=True, epilog=example("agents", "agents show claude"))
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the agents that can run a prompt.

    Shows each agent's installed version, the version it was tested with, and its command. To use an agent:
    backburner launch --agent NAME PROMPT
    """
    if ctx.invoked_subcommand is not None:
        return
    context = ctx.find_object(Context)
    assert context is not None, "the root command sets it"
    agents = list_agents(context.valid_config)
    if as_json:
        print_json([agent.to_json() for agent in agents])
        return
    rows = [(agent.name, _installed(agent), agent.tried or "untested", shlex.join(agent.command)) for agent in agents]
    head = (Column("AGENT", FIXED), Column("INSTALLED"), Column("TRIED WITH", rank=1), Column("COMMAND", wanted=20))
    sys.stdout.write(format_table(head, rows, sys.stdout))


@command.command(
    "show",
    epilog=example(
        "agents show claude >> ~/.config/backburner/config.toml",
        "config edit --user",
        "launch --agent-arg=--permission-mode=plan 'Explain the parser'",
    ),
)
@click.argument("name")
@click.pass_obj
def show(context: Context, name: str) -> None:
    """Print an agent's settings as TOML.

    Append them to your configuration file, and change them there: their command has the options of every task. To add
    an option to one task: backburner launch --agent-arg
    """
    config = context.valid_config
    agent = config.agent(name)
    if name in BUILT_IN:
        raise InvalidInput(f"{name} is built in and has no settings to show")
    if name in presets() and agent == DEFAULT_BACKGROUND_CONFIG.agent(name):
        sys.stdout.write(text(name))
        return
    from .config import toml_lines

    print("\n".join(toml_lines({"agents": {name: agent.to_json()}})).lstrip())


def list_agents(config: BackgroundConfig) -> list[Agent]:
    """Return the agents that are not built in, by name."""
    names = sorted(set(config.agent_names) - set(BUILT_IN))
    agents = [config.agent(name) for name in names]
    programs = [shutil.which(flatten(agent.command)[0]) for agent in agents]
    versions = iter(_versions([program for program in programs if program]))
    return [
        Agent(
            name=name,
            installed=program,
            version=next(versions) if program else None,
            tried=agent.tried or None,
            resumes=bool(agent.resume),
            command=flatten(agent.command),
        )
        for name, agent, program in zip(names, agents, programs, strict=True)
    ]


def flatten(template: Sequence[Element]) -> tuple[str, ...]:
    """Return all elements of a command's template, including those in lists that may be left out."""
    return tuple(chain.from_iterable([element] if isinstance(element, str) else element for element in template))


def _installed(agent: Agent) -> str:
    return agent.version or ("yes" if agent.installed else "–")


def _versions(programs: list[str]) -> list[str | None]:
    """Return the version that each program prints, or None."""
    from ...system.children import first_lines

    return list(map(_version_in, first_lines([[program, "--version"] for program in programs], VERSION_TIMEOUT)))


def _version_in(line: str) -> str | None:
    return next((word.lstrip("v") for word in line.split() if any(letter.isdigit() for letter in word)), None)
