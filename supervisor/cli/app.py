"""The root command, and where each verb is found: a verb's module is imported when it is used."""

from __future__ import annotations

import gc
import importlib
from typing import Any

import click

from .context import Desk

#: What a shell shows for a program that wrote into a pipe without a reader.
BROKEN_PIPE = 141

#: Every command, in the order of the help. Each is the `command` of the module that has its name.
VERBS = tuple(
    """
    up down status restart reload doctor launch run list show output wait cancel retry complete fail progress listen
    flush adopt install mcp wake hook pause resume limit prune clear export import backup restore salvage agents
    config schema completion service
    """.split()
)
#: Commands whose names are words of Python.
MODULES = {"import": "import_"}


class Program(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, those used together side by side."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; the command in it is named after the verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".commands.{MODULES.get(cmd_name, cmd_name)}", __package__)
        gc.enable()
        found = module.command
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but for a reader of our output who has heard enough."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what was meant."""
        if args and args[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            ctx.fail(f"There is no command {args[0]!r}{guess}")
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from ...ipc.machine.distribution import version

        print(f"backburner {version()}")
        ctx.exit()


@click.command(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  backburner up --detach\n  backburner run -- make test",
)
@click.option("--home", metavar="DIR", help="The folder with the state, instead of the one that is found.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@click.pass_context
def program(ctx: click.Context, home: str | None) -> Any:
    """Put work on the back burner; be told when it is done. Without a command: status."""
    desk = ctx.ensure_object(Desk)
    desk.named = home
    if ctx.invoked_subcommand is None:
        status = program.get_command(ctx, "status")
        assert status is not None, "status is a verb"
        return ctx.invoke(status)
    return None
