"""`config show` and `config check`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ....ipc.config.files import check, sources
from ....ipc.errors import BadConfiguration
from ....ipc.home import current_folder
from ..context import Context
from ..options import example, json_option
from ..printing import print_json


@click.group("config", invoke_without_command=True, epilog=example("config show", "config check"))
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show or check the configuration.

    Without a command, this is `config show`.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command("show", epilog=example("config show"))
@json_option
@click.pass_obj
def show(context: Context, as_json: bool = False) -> None:
    """Print all settings in force as TOML.

    The first lines name the files that were read.
    """
    settings = context.valid_config.to_json()
    if as_json:
        print_json(settings)
        return
    for path in sources(context.home, current_folder()):
        print(f"# {path}")
    print("\n".join(toml_lines(settings)))


@command.command("check", epilog=example("config check"))
@json_option
@click.pass_obj
def check_files(context: Context, as_json: bool) -> int:
    """Report all mistakes in the configuration files.

    Each line names the file, the setting and the expected value. Exits with 100 if there is a mistake.
    """
    folder = current_folder()
    mistakes = check(context.home, folder)
    if as_json:
        print_json([mistake._asdict() for mistake in mistakes])
    else:
        for mistake in mistakes:
            print(mistake)
    if not as_json and not mistakes:
        files = ", ".join(map(str, sources(context.home, folder)))
        print(f"no mistakes in {files}" if files else "there is no configuration file; the defaults apply")
    return BadConfiguration.exit_code if mistakes else 0


def toml_lines(settings: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield settings as lines of TOML: the values first, then the tables."""
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
    """Return a value as TOML, which is the same as JSON except that DEL must be escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
