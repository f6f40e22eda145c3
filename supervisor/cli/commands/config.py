"""`config` and its subcommands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ....ipc.config import agents
from ....ipc.config.agents import plain, values_of
from ....ipc.config.files import check, sources
from ....ipc.config.settings import CONFIG
from ....ipc.config.toml_edit import parse_name, toml_key, toml_value, with_setting, without_setting
from ....ipc.errors import BadConfiguration, MoveNotAllowed
from ....ipc.home import current_folder
from ....ipc.machine.presence import Presence
from ....ipc.validation import DIALECT, OneOf, Text
from ..context import Context
from ..input.config_file import change_file, chosen_file, create_file
from ..options import Command, Output, example, json_option
from ..printing import note, print_json


@click.group("config", invoke_without_command=True, epilog=example("config show", "config set max_workers 8"))
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show, check or change the configuration.

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


@command.command("check", epilog=example("config check", Output("no mistakes in /src/backburner.toml")))
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


def _file_options(command: Command) -> Command:
    """Add the options that choose a file."""
    user = click.option("--user", "is_user", is_flag=True, help="Use your own file, for all projects.")
    return user(click.option("--in-home", is_flag=True, help="Use the file in the state directory.")(command))


@command.command("init", epilog=example("config init", "config init --user"))
@_file_options
@click.pass_obj
def init(context: Context, is_user: bool, in_home: bool) -> None:
    """Create a configuration file with all settings as comments.

    The default is the project's backburner.toml. A file that exists is not changed.
    """
    path = chosen_file(context, is_user, in_home)
    try:
        create_file(path, template())
    except FileExistsError:
        raise MoveNotAllowed(f"{path} exists already; to change it: backburner config edit") from None
    print(path)


@command.command("get", epilog=example("config get max_workers", Output("8"), "config get agents.claude"))
@click.argument("name", metavar="NAME")
@json_option
@click.pass_obj
def get(context: Context, name: str, as_json: bool) -> int:
    """Print a setting in force.

    NAME is for example max_workers or model_concurrency.opus. Exits with 1 if the setting has no value.
    """
    path = parse_name(name)
    if path[0] not in CONFIG.fields:
        CONFIG.check({path[0]: None})
    found: Any = context.valid_config.to_json()
    if path[0] == "agents" and len(path) > 1:
        found["agents"] = {path[1]: _agent(context, path[1])}
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            note(f"{name} is not set")
            return 1
        found = found[key]
    _print_value(found, as_json)
    return 0


def _agent(context: Context, name: str) -> dict[str, Any]:
    return {field: plain(value) for field, value in values_of(context.valid_config.agent(name))}


def _print_value(value: Any, as_json: bool) -> None:
    if as_json:
        print_json(value)
    elif isinstance(value, Mapping):
        print("\n".join(toml_lines(value)))
    else:
        print(value if isinstance(value, str) else toml_value(value))


@command.command(
    "set",
    context_settings={"ignore_unknown_options": True},
    epilog=example(
        "config set max_workers 8",
        Output("backburner: changed /src/backburner.toml; to apply it: backburner reload"),
        "config set 'model_concurrency.local/*' 1",
        """config set --user on_batch '["backburner", "wake", "desktop"]'""",
    ),
)
@click.argument("name", metavar="NAME")
@click.argument("value", metavar="VALUE")
@_file_options
@click.pass_obj
def set_value(context: Context, name: str, value: str, is_user: bool, in_home: bool) -> None:
    """Change a setting in a configuration file.

    The default is the project's backburner.toml. VALUE is TOML, or a text without quotes. All other lines of the file
    stay as they are. A running supervisor applies the change with: backburner reload

    All settings and their values: backburner config show
    """
    path = parse_name(name)
    parsed = _parsed(path, value)
    _change(context, chosen_file(context, is_user, in_home), lambda text: with_setting(text, path, parsed))


@command.command("unset", epilog=example("config unset max_workers"))
@click.argument("name", metavar="NAME")
@_file_options
@click.pass_obj
def unset(context: Context, name: str, is_user: bool, in_home: bool) -> None:
    """Delete a setting from a configuration file."""
    path = parse_name(name)
    _change(context, chosen_file(context, is_user, in_home), lambda text: without_setting(text, path))


def _change(context: Context, path: Path, change: Callable[[str], str]) -> None:
    change_file(context, path, change)
    if Presence(context.home).is_held("supervisor"):
        note(f"changed {path}; to apply it: backburner reload")


def _parsed(path: tuple[str, ...], text: str) -> Any:
    """Return a value that was given as TOML, or as text without quotes."""
    import tomllib

    try:
        value: Any = tomllib.loads(f"x = {text}")["x"]
    except ValueError:
        return text
    takes_text = len(path) == 1 and isinstance(CONFIG.fields.get(path[0]), Text | OneOf)
    return text if takes_text and not isinstance(value, str) else value


@command.command("edit", epilog=example("config edit"))
@_file_options
@click.pass_obj
def edit(context: Context, is_user: bool, in_home: bool) -> int:
    """Open a configuration file in $VISUAL or $EDITOR, then check it.

    The default is the project's backburner.toml, which is created if it is missing.
    """
    path = chosen_file(context, is_user, in_home)
    with suppress(FileExistsError):
        create_file(path, template())
    click.edit(filename=str(path))
    mistakes = [mistake for mistake in check(context.home, current_folder()) if mistake.file == str(path)]
    for mistake in mistakes:
        print(mistake)
    return BadConfiguration.exit_code if mistakes else 0


@command.command("schema", epilog=example("config schema > backburner.schema.json"))
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors.

    An editor with support for TOML, such as one with taplo, checks and completes a file whose first line names the
    schema: #:schema ./backburner.schema.json
    """
    print_json({"$schema": DIALECT, **CONFIG.schema(), "title": "backburner.toml"})


def template() -> str:
    """Return the text of a new file: every setting with its default, as a comment."""
    return (Path(agents.__file__).parent / "template.toml").read_text()


def toml_lines(settings: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield settings as lines of TOML: the values first, then the tables."""
    tables = {name: value for name, value in settings.items() if isinstance(value, Mapping)}
    if table and (len(tables) < len(settings) or not settings):
        yield ""
        yield f"[{'.'.join(map(toml_key, table))}]"
    for name, value in settings.items():
        if name not in tables:
            yield f"{toml_key(name)} = {toml_value(value)}"
    for name, inner in tables.items():
        yield from toml_lines(inner, (*table, name))
