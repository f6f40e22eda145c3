"""What machines want to know of this program: `schema`, `completion`."""

from __future__ import annotations

import click

from ..options import example, print_json


@click.command("schema", short_help="The JSON Schema of everything.", epilog=example("schema > backburner.schema.json"))
def schema_command() -> None:
    """The JSON Schema of tasks, launches, events, the configuration and every method of the socket."""
    from ....ipc.bus.protocol import document

    print_json(document())


@click.command(
    "completion",
    short_help="The script for a shell's completion.",
    epilog='\b\nExample:\n  eval "$(backburner completion bash)"',
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """The script that makes SHELL complete this program's commands, options and ids."""
    from click.shell_completion import get_completion_class

    from ..app import program

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    print(kind(program, {}, "backburner", "_BACKBURNER_COMPLETE").source())
