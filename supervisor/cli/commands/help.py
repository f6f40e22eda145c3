"""`help`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..options import example


@click.command("help", epilog=example("help launch", "help service install", "help --all"))
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="List all commands.")
@click.pass_context
def command(ctx: click.Context, words: Sequence[str], everything: bool) -> None:
    """Explain a command, or list the commands."""
    from ..app import Program

    shown = ctx.find_root()
    if everything:
        assert isinstance(shown.command, Program)
        print(shown.command.get_complete_help(shown))
        return
    for word in words:
        shown = _inner(shown, word)
    print(shown.get_help())


def _inner(outer: click.Context, word: str) -> click.Context:
    """Return the context of a command of a group. Raises UsageError."""
    if not isinstance(outer.command, click.Group):
        raise click.UsageError(f"'{outer.command_path}' has no commands", outer)
    name, found, _ = outer.command.resolve_command(outer, [word])
    if found is None:  # a word in the place of an argument
        raise click.UsageError(f"'{outer.command_path}' has no command '{word}'", outer)
    return found.make_context(name, [], parent=outer, resilient_parsing=True)
