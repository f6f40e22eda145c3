"""The root command. The module of a command is imported when the command is used."""

from __future__ import annotations

import gc
import importlib
import sys
from itertools import chain
from typing import Any

import click

from ...ipc.errors import BROKEN_PIPE
from .context import Context

#: The commands, in the order of the help. Each is the object `command` of the module with the same name.
SECTIONS = {
    "Tasks": "launch run list show output wait cancel retry edit rm signal complete fail progress".split(),
    "Supervisor": "up down restart reload status doctor service".split(),
    "Limits": "limit pause resume".split(),
    "Notifications and agents": "listen flush adopt agents install mcp hook wake".split(),
    "Maintenance": "prune clear export import backup restore salvage".split(),
    "Configuration and help": "config schema completion help".split(),
}
VERBS = tuple(chain.from_iterable(SECTIONS.values()))

#: The names that other programs use for these commands, and the arguments that they stand for.
ALIASES = {
    "add": ["launch"],
    "ls": ["list"],
    "ps": ["list", "--status", "running"],
    "log": ["output"],
    "logs": ["output"],
    "follow": ["output", "--follow"],
    "kill": ["cancel"],
    "start": ["up"],
    "stop": ["down"],
}

#: The modules of commands whose names are keywords of Python.
_MODULES = {"import": "import_"}


#: The commands that make no state directory, with their aliases.
READERS = frozenset(
    "list ls ps show output log logs follow wait cancel kill retry complete fail progress down stop restart reload"
    " status doctor listen flush prune clear export backup salvage rm edit signal answer ask stats top report".split()
)


class Program(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".commands.{_MODULES.get(cmd_name, cmd_name)}", __package__)
        gc.enable()
        command = module.command
        assert isinstance(command, click.Command)
        if ctx.resilient_parsing:  # a shell completes a word
            from .completion import offer_words

            offer_words(command)
        if sys.flags.optimize > 1:
            from .help import restore_help

            restore_help(module, command)
        return command

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of every day."""
        from .help import write_overview

        write_overview(ctx, formatter)

    def get_complete_help(self, ctx: click.Context) -> str:
        """Return the help with all options and commands."""
        formatter = ctx.make_formatter()
        super().format_help(ctx, formatter)
        return formatter.getvalue().rstrip("\n")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, then the aliases."""
        width = max(map(len, VERBS))
        for section, names in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), self._summary(ctx, name)) for name in names])
        with formatter.section("Aliases"):
            formatter.write_dl([(name.ljust(width), " ".join(words)) for name, words in ALIASES.items()])

    def _summary(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        assert command is not None, "the sections name existing commands"
        return command.get_short_help_str(limit=80).rstrip(".")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. It is not an error if the reader of its output exits."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(BROKEN_PIPE) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the named command, or fail and suggest the most similar name."""
        if args[:1] == ["stop"] and any(not word.startswith("-") for word in args[1:]):
            ctx.fail(f"'stop' stops the supervisor; to stop a task: backburner cancel {args[1]}")
        words = [*ALIASES.get(args[0], args[:1]), *args[1:]] if args else args
        if words and words[0] not in VERBS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(words[0], [*VERBS, *ALIASES], n=1)
            guess = f" (did you mean '{close[0]}'?)" if close else ""
            ctx.fail(f"no such command: {words[0]}{guess}")
        return super().resolve_command(ctx, words)


def _print_version(ctx: click.Context, _param: click.Parameter, is_requested: bool) -> None:
    if is_requested and not ctx.resilient_parsing:
        from ...ipc.machine.distribution import version

        print(f"backburner {version()}")
        ctx.exit()


@click.command(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  $ backburner up --detach\n  $ backburner run -- make test",
)
@click.option(
    "--home",
    metavar="DIR",
    help="Use this state directory. [default: $BACKBURNER_HOME, else the nearest .backburner]",
)
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
    """Run long jobs and coding agents in the background, a few at a time, and get notified when they finish.

    Without a command, show the status. Where a command takes an ID, any unique beginning of it will do, and - is the
    last task launched from this state directory, whichever terminal launched it.
    """
    context = ctx.ensure_object(Context)
    context.home_option = home
    context.only_reads = ctx.invoked_subcommand is None or ctx.invoked_subcommand in READERS
    if ctx.invoked_subcommand is None:
        status = program.get_command(ctx, "status")
        assert status is not None, "status is a command"
        return ctx.invoke(status)
    return None
