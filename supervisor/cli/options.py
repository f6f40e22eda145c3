"""What several commands take."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from ...ipc.errors import BackburnerError
from ...ipc.model.launch import LONGEST
from .context import Desk
from .text import short

Command = TypeVar("Command", bound=Callable[..., Any])


#: What names the session on whose behalf one works, the first that is set.
PARENT_VARIABLES = ("BACKBURNER_PARENT", "CLAUDE_CODE_SESSION_ID")


def example(*lines: str) -> str:
    """The end of a help text."""
    return "\n".join(["\b", "Example:", *(f"  backburner {line}" for line in lines)])


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def id_argument(command: Command) -> Command:
    """One task."""
    return click.argument("id", metavar="ID", shell_complete=complete_id)(command)


def ids_argument(command: Command) -> Command:
    """Several tasks, or none."""
    return click.argument("ids", metavar="ID...", nargs=-1, shell_complete=complete_id)(command)


def complete_id(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The newest tasks' ids that start so."""
    from contextlib import suppress

    from ...ipc.errors import BackburnerError
    from ...ipc.store.tasks import Filter
    from .context import Desk

    found: list[str] = []
    with Desk() as desk, suppress(BackburnerError):
        desk.named = ctx.find_root().params.get("home")
        found = [short(task.id) for task in desk.tasks.list(Filter()).tasks]
    return [id for id in found if id.startswith(incomplete)]


def own_parent() -> str | None:
    """The session on whose behalf this command was started, if it says so."""
    return next((os.environ[name] for name in PARENT_VARIABLES if os.environ.get(name)), None)


#: Milliseconds of each unit; a bare number is seconds.
UNITS = {"ms": 1, "s": 1000, "": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


_FORM = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(ms|[smhd]?)\s*", re.ASCII)


class Duration(click.ParamType):  # type: ignore[type-arg]  # older clicks have none
    """A number and `ms s m h d`; a bare number is seconds. Becomes whole milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds. Fails with a usage error that names the option."""
        if isinstance(value, int):
            return value
        found = _FORM.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} is no duration: a number, not negative, and ms, s, m, h or d, as in 90 or 1.5h",
                param,
                ctx,
            )
        milliseconds = float(found[1]) * UNITS[found[2]]
        if milliseconds > LONGEST:
            self.fail(f"{value!r} is longer than 30 years", param, ctx)
        return round(milliseconds)


DURATION = Duration()


Made = TypeVar("Made")


class Each:
    """Calls for several ids, and the errors among them."""

    def __init__(self, desk: Desk) -> None:
        """Nothing was refused yet."""
        self._desk = desk
        self._errors: list[BackburnerError] = []

    def of(self, ids: Iterable[str], act: Callable[[str], Made]) -> list[Made]:
        """What `act(whole id)` gave for each id that it did not refuse. A temporary error ends it."""
        return [made for id in ids for made in self._try(id, act)]

    def code(self) -> int:
        """Say what was refused; the exit code of the first of them, or 0."""
        from .errors import sentence

        for error in self._errors:
            print(sentence(error, self._desk), file=sys.stderr)
        return self._errors[0].exit_code if self._errors else 0

    def _try(self, id: str, act: Callable[[str], Made]) -> list[Made]:
        try:
            return [act(self._desk.find(id))]
        except BackburnerError as error:
            if error.exit_code >= 100:
                raise
            self._errors.append(error)
            return []


def require(ids: Sequence[str]) -> None:
    """Refuse to work on no task at all."""
    if not ids:
        raise click.UsageError("Missing argument 'ID...'", click.get_current_context())


OWN_TASK = "BACKBURNER_TASK_ID"


def own_task(desk: Desk, id: str | None) -> str:
    """The whole id; within a task it need not be given."""
    if not id:
        raise click.UsageError(
            f"Missing argument 'ID' (only within a task, {OWN_TASK} says it)", click.get_current_context()
        )
    return desk.find(id)
