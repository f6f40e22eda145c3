"""Who can work on a prompt: `agents`."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import click

from ....ipc.config.presets import presets, text
from ....ipc.config.settings import BUILT_IN, DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
from ....ipc.errors import InvalidInput
from ..context import Desk
from ..options import example, json_option
from ..printing import print_json
from ..tables import table

#: Seconds that a program is given to say its version: those on Node.js take two on a busy machine.
PATIENCE = 15.0


@dataclass(frozen=True)
class Known:
    """An agent, and whether its program is here."""

    name: str
    installed: str | None
    version: str | None
    tried: str | None
    resumes: bool
    command: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `agents --json` tells it."""
        return asdict(self)


@click.group("agents", invoke_without_command=True, epilog=example("agents", "agents show claude"))
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """The agents that there are: installed or not, version, command."""
    if ctx.invoked_subcommand is not None:
        return
    desk = ctx.find_object(Desk)
    assert desk is not None, "the program has one"
    found = known(desk.sound_config)
    if as_json:
        print_json([one.to_json() for one in found])
        return
    rows = [(one.name, _installed(one), one.tried or "untested", shlex.join(one.command)) for one in found]
    sys.stdout.write(table(("AGENT", "INSTALLED", "TRIED WITH", "COMMAND"), rows, sys.stdout))


@command.command("show", epilog=example("agents show claude >> ~/.config/backburner/config.toml"))
@click.argument("name")
@click.pass_obj
def show(desk: Desk, name: str) -> None:
    """All about one, as TOML to copy and to change. Raises UnknownAgent, InvalidInput."""
    config = desk.sound_config
    agent = config.agent(name)
    if name in BUILT_IN:
        raise InvalidInput(f"{name} is built in; there is no template of it.")
    if name in presets() and agent == DEFAULT_BACKGROUND_CONFIG.agent(name):
        sys.stdout.write(text(name))
        return
    from .config import toml_lines

    print("\n".join(toml_lines({"agents": {name: agent.to_json()}})).lstrip())


def known(config: BackgroundConfig) -> list[Known]:
    """Those that are not built in, by name."""
    names = sorted(set(config.agent_names) - set(BUILT_IN))
    found = [config.agent(name) for name in names]
    programs = [shutil.which(first_of(agent.command)) for agent in found]
    versions = iter(_versions([program for program in programs if program]))
    return [
        Known(
            name=name,
            installed=program,
            version=next(versions) if program else None,
            tried=agent.tried or None,
            resumes=bool(agent.resume),
            command=flat(agent.command),
        )
        for name, agent, program in zip(names, found, programs, strict=True)
    ]


def _installed(one: Known) -> str:
    return one.version or ("yes" if one.installed else "–")


def flat(command: Sequence[str | Sequence[str]]) -> tuple[str, ...]:
    """A template's elements, those that may be left out included."""
    return tuple(chain.from_iterable([one] if isinstance(one, str) else one for one in command))


def first_of(command: Sequence[str | Sequence[str]]) -> str:
    """The program of a template."""
    return flat(command)[0]


def _versions(programs: list[str]) -> list[str | None]:
    """What each calls its version: most say more than that."""
    from ...system.children import first_lines

    return list(map(_version, first_lines([[program, "--version"] for program in programs], PATIENCE)))


def _version(line: str) -> str | None:
    return next((word.lstrip("v") for word in line.split() if any(letter.isdigit() for letter in word)), None)
