"""The command line's reference: the help of every command, as the program prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from backburner.supervisor.cli.app import program

#: The columns of the terminal for which help is formatted.
WIDTH = 88


def page() -> str:
    """Return a table of all commands, then a section with the help of each."""
    root = _context(program, "backburner", terminal_width=WIDTH, max_content_width=WIDTH)
    commands = dict(_commands(program, root))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_summary(context)} |" for name, context in commands.items()]
    sections = [_section("backburner", root), *(_section(name, context) for name, context in commands.items())]
    return "\n".join(["| command | description |", "| --- | --- |", *rows, "", *sections])


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    """Return the commands of a group with their names, those of groups within it too."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = _context(command, name, parent=context)
        yield inner.command_path.removeprefix("backburner "), inner
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _context(command: click.Command, name: str, **more: Any) -> click.Context:
    """Return a context as the command line makes it, without running anything."""
    return command.make_context(name, [], resilient_parsing=True, **more)


def _summary(context: click.Context) -> str:
    return context.command.get_short_help_str(limit=200).replace("|", "\\|")


def _section(name: str, context: click.Context) -> str:
    text = program.get_complete_help(context) if context.command is program else context.get_help()
    return f"## {name} {{ #{_anchor(name)} }}\n\n```text\n{text}\n```\n"


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
