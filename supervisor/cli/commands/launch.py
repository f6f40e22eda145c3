"""`launch`, and the options that `run` shares with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ....ipc.errors import AlreadyRunning, InvalidInput
from ....ipc.machine.presence import Presence
from ....ipc.model.launch import LaunchInput
from ....ipc.store.queue import Launched, Queue
from ..context import Desk
from ..durations import DURATION
from ..launch_input import Options, Words, inputs, placed
from ..options import Command, example, print_json, say


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


@click.command(
    "launch",
    cls=Launching,
    epilog=example("launch --agent claude --model opus 'Refactor the parser'", "launch --key io -- make test"),
)
@launch_options
@click.pass_obj
def launch_command(desk: Desk, /, words: Sequence[str], up: bool, as_json: bool, **options: Any) -> None:
    """Accept a task and print its id. Works with no supervisor: the task waits for one."""
    launched = accept(desk, wanted(desk, options, words), options)
    if as_json:
        documents = [described(desk.queue, one) for one in launched]
        print_json(documents if options["from_file"] else documents[0])
    else:
        sys.stdout.write("".join(f"{one.id}\n" for one in launched))
    sys.stdout.flush()
    start_if_wanted(desk, up)
    if sys.stderr.isatty() and launched:
        _hint(desk, launched[-1])


def wanted(desk: Desk, options: Options, words: Sequence[str]) -> list[LaunchInput]:
    """What the command line says. Raises InvalidInput, UnknownAgent, NotFound, BadConfiguration."""
    return inputs(desk, options, Words(words, click.get_current_context().meta["command"]))


def accept(desk: Desk, tasks: Sequence[LaunchInput], options: Options) -> list[Launched]:
    """Launch them, all or none. Raises InvalidInput, UnknownAgent, NotFound, OverCap."""
    queue = Queue(desk.database, desk.sound_config)
    try:
        return queue.launch_many(tasks)
    except InvalidInput as error:
        raise placed(error, options["from_file"]) from None


def described(queue: Queue, launched: Launched) -> dict[str, Any]:
    """A task as it was accepted; `existing` says that it was there already."""
    return queue.get(launched.id).to_json() | {"existing": launched.existing}


def start_if_wanted(desk: Desk, up: bool) -> None:
    """Start a supervisor where one is wanted and none runs."""
    if not (up or desk.config.autostart) or Presence(desk.home).is_held("supervisor"):
        return
    from ....ipc.api.control import start

    try:
        start(desk.home)
    except AlreadyRunning:  # somebody else was faster
        return


def _hint(desk: Desk, launched: Launched) -> None:
    from ..text import hint

    if launched.existing:
        say("it was there already; nothing new was launched")
    if why := hint(desk.queue.get(launched.id), desk):
        say(why)
