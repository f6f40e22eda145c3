"""`completion`."""

from __future__ import annotations

import click


@click.command("completion", epilog='\b\nExample:\n  $ eval "$(backburner completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for a shell.

    It completes commands, options, keys, agents, sessions, and IDs of tasks that fit the command.
    """
    from click.shell_completion import get_completion_class

    from ..app import program

    kind = get_completion_class(shell)
    assert kind is not None, "click supports these shells"
    print(kind(program, {}, "backburner", "_BACKBURNER_COMPLETE").source())
