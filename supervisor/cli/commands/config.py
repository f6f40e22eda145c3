"""`config show` and `config check`."""

from __future__ import annotations

from pathlib import Path

import click

from ....ipc.config.settings import check, sources
from ....ipc.errors import BadConfiguration
from ..context import Desk
from ..options import example, json_option, print_json
from ..toml import lines


@click.group("config", invoke_without_command=True, epilog=example("config check"))
@click.pass_context
def config_command(ctx: click.Context) -> None:
    """What is configured, and what is wrong with it. Without a command: show."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@config_command.command("show", epilog=example("config show"))
@json_option
@click.pass_obj
def show(desk: Desk, as_json: bool = False) -> None:
    """Every setting in force, as TOML, and the files it comes from."""
    found = desk.sound_config.to_json()
    if as_json:
        print_json(found)
        return
    for path in sources(desk.home, Path.cwd()):
        print(f"# {path}")
    print("\n".join(lines(found)))


@config_command.command("check", epilog=example("config check"))
@json_option
@click.pass_obj
def check_files(desk: Desk, as_json: bool) -> int:
    """Every mistake in every file: where, and what was expected. Exit code 100 if there is one."""
    here = Path.cwd()
    mistakes = check(desk.home, here)
    if as_json:
        print_json([mistake._asdict() for mistake in mistakes])
    else:
        for mistake in mistakes:
            print(mistake)
    if not as_json and not mistakes:
        files = ", ".join(map(str, sources(desk.home, here)))
        print(f"no mistakes in {files}" if files else "there is no file: the defaults are in force")
    return BadConfiguration.exit_code if mistakes else 0
