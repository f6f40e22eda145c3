"""`config show` and `config check`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ....ipc.config.settings import check, sources
from ....ipc.errors import BadConfiguration
from ..context import Desk
from ..options import example, json_option
from ..printing import print_json


@click.group("config", invoke_without_command=True, epilog=example("config check"))
@click.pass_context
def command(ctx: click.Context) -> None:
    """What is configured, and what is wrong with it. Without a command: show."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command("show", epilog=example("config show"))
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
    print("\n".join(toml_lines(found)))


@command.command("check", epilog=example("config check"))
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


def toml_lines(settings: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of TOML: values first, then tables."""
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    if table and (len(tables) < len(settings) or not settings):
        yield ""
        yield f"[{'.'.join(map(_key, table))}]"
    for name, value in settings.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}"
    for name, inner in tables.items():
        yield from toml_lines(inner, (*table, name))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """JSON's strings, numbers and lists are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
