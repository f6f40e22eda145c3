"""The options of `launch` and `run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from .options import DURATION, Command


class Launching(click.Command):
    """A command whose words after the first `--` are the argv of a task."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands after the first `--`, as it stands."""
        own, found, command = list(args), None, None
        if "--" in args:
            found = args.index("--")
            own, command = args[:found], args[found + 1 :]
        ctx.meta["command"] = command
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Both forms."""
        return ["[OPTIONS] (PROMPT | -- COMMAND...)"]


class Json(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A JSON value of one Python type."""

    def __init__(self, kind: type, name: str) -> None:
        """Take only values of that type; `name` is what they are called."""
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value. Fails with a usage error that names the option."""
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            self.fail(f"{value[:60]!r} is no JSON ({error})", param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"expected {self.name}", param, ctx)
        return found


def _variable(_ctx: click.Context, _param: click.Parameter, entries: Sequence[str]) -> Sequence[str]:
    for entry in entries:
        if not entry or entry.startswith("="):
            raise click.BadParameter(f"{entry!r} names no variable; give K=V, or K to take it from the supervisor")
    return entries


_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--agent", metavar="NAME", help="Who works on the prompt: an agent of the configuration, or external."
    ),
    click.option("--resume", metavar="ID", help="Go on in the session of this task, which has ended."),
    click.option("--model", metavar="NAME", help="The model, which is also what the task competes for."),
    click.option("--key", metavar="KEY", help="What the task competes for, if not its model or agent."),
    click.option(
        "--parent",
        metavar="P",
        help="The session that is told. [default: $BACKBURNER_PARENT, $CLAUDE_CODE_SESSION_ID]",
    ),
    click.option("--no-parent", is_flag=True, help="Nobody is told."),
    click.option("--message", metavar="ID", help="The parent's message that asked for it."),
    click.option("--description", metavar="TEXT", help="A line about it, for lists."),
    click.option(
        "--cwd",
        type=click.Path(exists=True, file_okay=False),
        metavar="DIR",
        help="Where it runs. [default: here]",
    ),
    click.option(
        "--env",
        multiple=True,
        metavar="K[=V]",
        callback=_variable,
        help="One more variable; without V: the supervisor's.",
    ),
    click.option("--inherit-env", is_flag=True, help="All of this environment."),
    click.option("--stdin", metavar="FILE", help="What it reads, copied now; - for this command's own stdin."),
    click.option("--priority", type=click.IntRange(-1000, 1000), metavar="N", help="Higher ones first. [default: 0]"),
    click.option("--delay", type=DURATION, metavar="D", help="Not before so long."),
    click.option("--timeout", type=DURATION, metavar="D", help="End it when a try takes longer; 0: never."),
    click.option("--retries", type=click.IntRange(0, 1000), metavar="N", help="Try again so often when it fails."),
    click.option("--unique", metavar="NAME", help="Not if an unfinished task has this name: that one is returned."),
    click.option("--after", multiple=True, metavar="ID", help="After this task has completed."),
    click.option("--after-any", multiple=True, metavar="ID", help="After this task has ended, however."),
    click.option("--leave-children", is_flag=True, default=None, help="Let processes that it leaves behind live."),
    click.option("--call", metavar="MODULE:FUNCTION", help="A Python callable instead of a prompt or a command."),
    click.option("--args", type=Json(list, "a JSON list"), metavar="JSON", help="Its positional arguments, a list."),
    click.option(
        "--kwargs", type=Json(dict, "a JSON object"), metavar="JSON", help="Its keyword arguments, an object."
    ),
    click.option(
        "--metadata",
        type=Json(dict, "a JSON object"),
        metavar="JSON",
        help="An object of yours, kept with the task.",
    ),
    click.option("--from-file", metavar="TASKS.ndjson", help="Tasks in JSON, one a line, all or none; - for stdin."),
    click.option("--up", is_flag=True, help="Start a supervisor if none runs."),
    click.option("--json", "as_json", is_flag=True, help="Print the task as JSON."),
)


def launch_options(command: Command) -> Command:
    """The options of `launch` and `run`, and the words."""
    decorated: Any = click.argument("words", nargs=-1)(command)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    found: Command = decorated
    return found
