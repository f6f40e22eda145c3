"""The arguments and options of `launch` and `run`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .autostart import UP_HELP
from .input.duration import DURATION, WholeNumber
from .options import Command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The sections of the help.
WHAT, WHEN, HOW = "What to run", "When to run it", "How to run it"
ABOUT, OTHER = "Notification and description", "Other options"

#: Rows of the help for arguments.
_ARGUMENTS = {
    WHAT: [
        ("PROMPT", "Give this prompt to an agent; - reads it from stdin."),
        ("-- COMMAND [ARG]...", "Run a command."),
    ]
}


class LaunchCommand(click.Command):
    """A command whose arguments after the first `--` are the argv of a task. Its help has sections."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments after the first `--` unparsed."""
        own, command = list(args), None
        if "--" in args:
            index = args.index("--")
            own, command = args[:index], args[index + 1 :]
        ctx.meta["command"] = command
        if any(_may_be_text(word) for word in own):
            from .input.prompt import arrange

            own = arrange(self, own)
        try:
            return super().parse_args(ctx, [*own])
        except click.NoSuchOption as error:
            from .input.prompt import after_options, suggest_command

            raise _with_hint(error, suggest_command(ctx.info_name or "launch", after_options(self, own))) from None

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the forms with and without `--`."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] PROMPT")
        formatter.write_usage(ctx.command_path, "[OPTIONS] -- COMMAND [ARG]...", prefix=" " * len("Usage: "))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, all aligned."""
        sections = {name: list(_ARGUMENTS.get(name, [])) for name in (WHAT, WHEN, HOW, ABOUT, OTHER)}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)):
                sections[getattr(option, "section", OTHER)].append(record)
        width = max(len(name) for rows in sections.values() for name, _ in rows)
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])


def _may_be_text(word: str) -> bool:
    return word.startswith("-") and any(letter.isspace() for letter in word)


def _with_hint(error: click.NoSuchOption, suggestion: str) -> click.UsageError:
    """Return the error with the ways to pass text that begins with a dash, unless a similar option was meant."""
    if error.possibilities:
        return error
    hint = f"{suggestion}; a prompt that begins with '-' is read from stdin: -"
    return click.UsageError(f"{error.format_message().rstrip('.')}; {hint}", error.ctx)


class SectionOption(click.Option):
    """An option that the help shows in a section."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return the additions to the help text, without the range, which is part of the text."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class JsonValue(click.ParamType):  # type: ignore[type-arg]  # not generic in older releases of click
    """A JSON value of one Python type, which error messages call `name`."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value. Raises BadParameter."""
        try:
            parsed = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            self.fail(f"{value[:60]!r} is not valid JSON ({error})", param, ctx)
        if not isinstance(parsed, self.kind):
            self.fail(f"expected {self.name}", param, ctx)
        return parsed


def launch_options(command: Command) -> Command:
    """Add the options of `launch` and `run`, and the positional arguments."""
    decorated: Any = click.argument("words", nargs=-1, shell_complete=_complete_words)(command)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    result: Command = decorated
    return result


def _complete_words(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the command after `--`. A prompt is free text."""
    from .completion import complete_command

    command = ctx.meta["command"]
    return [] if command is None else complete_command(command, incomplete)


def _milliseconds_until(ctx: click.Context, param: click.Parameter, time: str | None) -> int | None:
    if time is None:
        return None
    from .input.moment import MOMENT  # few launches need it

    return MOMENT.convert(time, param, ctx)


def _check_variables(_ctx: click.Context, _param: click.Parameter, entries: Sequence[str]) -> Sequence[str]:
    for entry in entries:
        if not entry or entry.startswith("="):
            raise click.BadParameter(f"{entry!r} names no variable; use K=V, or K for its value here")
    return entries


def _check_secrets(_ctx: click.Context, _param: click.Parameter, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if not name or "=" in name:
            raise click.BadParameter(
                f"{name.partition('=')[0]!r} must be a name without a value, which would be stored"
            )
    return names


_option = partial(click.option, cls=SectionOption)
_LIST, _OBJECT = JsonValue(list, "a JSON list"), JsonValue(dict, "a JSON object")

_OPTIONS: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    _option(
        "--agent",
        section=WHAT,
        metavar="NAME",
        help="The agent for the prompt (see: backburner agents). [default: default_agent of the configuration]",
    ),
    _option("--model", section=WHAT, metavar="NAME", help="The model for the agent. [default: the agent's model]"),
    _option("--resume", section=WHAT, metavar="ID", help="Continue the session of task ID, which has ended."),
    _option("-c", "line", section=WHAT, metavar="LINE", help="Run a line of shell, with sh -c."),
    _option(
        "--like",
        section=WHAT,
        metavar="ID",
        help="Launch task ID again, with its folder and environment. Other options and arguments change it.",
    ),
    _option(
        "--agent-arg",
        section=WHAT,
        multiple=True,
        metavar="ARG",
        help="Add an argument to the agent's command, as in --agent-arg=--permission-mode=plan. Repeatable.",
    ),
    _option("--call", section=WHAT, metavar="MODULE:FUNCTION", help="Call a Python function."),
    _option("--args", section=WHAT, type=_LIST, metavar="JSON", help="A list: positional arguments of the call."),
    _option("--kwargs", section=WHAT, type=_OBJECT, metavar="JSON", help="An object: keyword arguments of the call."),
    _option(
        "--from-file",
        section=WHAT,
        metavar="FILE",
        help="Queue the tasks of a file, one JSON object a line: all of them or none. - reads stdin.",
    ),
    _option(
        "-k",
        "--key",
        section=WHEN,
        metavar="KEY",
        help="Share slots with other tasks of this key. [default: the model, or the agent's name]",
    ),
    _option(
        "--priority",
        section=WHEN,
        type=WholeNumber(-1000, 1000),
        metavar="N",
        help="Run before pending tasks with a lower priority. [default: 0; -1000 to 1000]",
    ),
    _option(
        "--delay",
        section=WHEN,
        type=DURATION,
        metavar="DURATION",
        help="Wait at least this long before starting (90s, 5m, 1h30m). [default: 0]",
    ),
    _option(
        "--at",
        section=WHEN,
        callback=_milliseconds_until,
        metavar="TIME",
        help="Do not start before this time: 03:00 (the next one) or 2026-12-24T03:00, in this process's time zone.",
    ),
    _option(
        "--after",
        section=WHEN,
        multiple=True,
        metavar="ID",
        help="Start when task ID has completed. If it fails, this task fails too. - is the last task launched."
        " Repeatable.",
    ),
    _option(
        "--after-any",
        section=WHEN,
        multiple=True,
        metavar="ID",
        help="Start when task ID has ended, whatever its outcome. Repeatable.",
    ),
    _option(
        "--timeout",
        section=WHEN,
        type=DURATION,
        metavar="DURATION",
        help="Stop an attempt that runs longer; 0 is no timeout. [default: the agent's timeout, or task_timeout_s]",
    ),
    _option(
        "--retries",
        section=WHEN,
        type=WholeNumber(0, 1000),
        metavar="N",
        help="Retry up to N times after a failure. [default: 0; at most 1000]",
    ),
    _option(
        "--unique",
        section=WHEN,
        metavar="NAME",
        help="If an unfinished task has this name, return that task instead of queuing a new one.",
    ),
    _option(
        "--cwd",
        section=HOW,
        type=click.Path(exists=True, file_okay=False),
        metavar="DIR",
        help="Run in this folder. [default: the current folder]",
    ),
    _option(
        "--env",
        section=HOW,
        multiple=True,
        metavar="K[=V]",
        callback=_check_variables,
        help="Set a variable; without a value, to its value here. Repeatable.",
    ),
    _option(
        "--env-file",
        section=HOW,
        multiple=True,
        metavar="FILE",
        help="Set the variables in FILE, one K=V a line. Repeatable.",
    ),
    _option(
        "--secret",
        section=HOW,
        multiple=True,
        metavar="K",
        callback=_check_secrets,
        help="Take a variable from the environment in which the supervisor was started. Its value is never stored."
        " Repeatable.",
    ),
    _option(
        "--inherit-env",
        section=HOW,
        is_flag=True,
        help="Use all of this environment. [default: PATH, the locale and pass_env; the rest from the supervisor]",
    ),
    _option(
        "--stdin",
        section=HOW,
        metavar="FILE",
        help="Read stdin from a copy of FILE, made now; - copies this command's stdin. [default: /dev/null]",
    ),
    _option(
        "--leave-children",
        section=HOW,
        is_flag=True,
        default=None,
        help="Do not end the processes that the task leaves behind.",
    ),
    _option(
        "--parent",
        section=ABOUT,
        metavar="SESSION",
        help="Notify this session when the task ends. [default: $BACKBURNER_PARENT, $CLAUDE_CODE_SESSION_ID]",
    ),
    _option("--no-parent", section=ABOUT, is_flag=True, help="Notify no session."),
    _option(
        "--notify",
        section=ABOUT,
        type=click.Choice(["person"]),
        metavar="person",
        help="Pass this task to your on_batch command by itself, as soon as it ends (see: backburner wake --help).",
    ),
    _option("--message", section=ABOUT, metavar="ID", help="The session's message that asked for the task."),
    _option("-d", "--description", section=ABOUT, metavar="TEXT", help="A line about the task, shown in lists."),
    _option("--tag", "tags", section=ABOUT, multiple=True, metavar="TAG", help="A label to filter by. Repeatable."),
    _option(
        "--metadata", section=ABOUT, type=_OBJECT, metavar="JSON", help="An object of your own, stored with the task."
    ),
    _option("--up/--no-up", section=OTHER, default=None, help=UP_HELP),
    _option("--json", "as_json", section=OTHER, is_flag=True, help="Print the task as JSON."),
)
