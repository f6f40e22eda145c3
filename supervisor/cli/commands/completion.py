"""`completion`."""

from __future__ import annotations

import click


@click.command(
    "completion",
    short_help="The script for a shell's completion.",
    epilog='\b\nExample:\n  eval "$(backburner completion bash)"',
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """The script that makes SHELL complete this program's commands, options and ids."""
    from click.shell_completion import get_completion_class

    from ..app import program

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    print(kind(program, {}, "backburner", "_BACKBURNER_COMPLETE").source())
