"""The help of commands under `python -OO`, which removes the docstrings that the help is made from."""

from __future__ import annotations

from types import ModuleType

import click


def restore_help(module: ModuleType, command: click.Command) -> None:
    """Read the docstrings of a command and its subcommands from the source of their module."""
    import ast
    import inspect

    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):  # only compiled files are installed
        return
    texts = {node.name: ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    _restore(command, texts)


def _restore(command: click.Command, texts: dict[str, str | None]) -> None:
    name = getattr(command.callback, "__name__", "")
    command.help = command.help or texts.get(name)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _restore(inner, texts)
