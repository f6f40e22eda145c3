"""Arguments and options that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ...ipc.errors import BackburnerError, InvalidInput
from ...ipc.model.task import TaskStatus
from .context import Context

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")

#: The variables that name the session for which a command works. The first variable that is set counts.
SESSION_VARIABLES = ("BACKBURNER_PARENT", "CLAUDE_CODE_SESSION_ID")

#: The variable that holds a task's ID in the task's own environment.
TASK_VARIABLE = "BACKBURNER_TASK_ID"


class Output(str):
    """A line that the example command before it prints."""


def example(*lines: str) -> str:
    """Return the end of a help text, with example commands that can be run, and lines of their output."""
    shown = (f"  {line}" if isinstance(line, Output) else f"  $ backburner {line}" for line in lines)
    return "\n".join(["\b", "Example:", *shown])


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def all_projects_option(command: Command) -> Command:
    """Add `--all-projects` and `-A`."""
    text = "Show all state directories in which you have started a supervisor."
    return click.option("-A", "--all-projects", is_flag=True, help=text)(command)


def id_argument(command: Command) -> Command:
    """Add the ID of one task."""
    return click.argument("id", metavar="ID")(command)


def ids_argument(command: Command) -> Command:
    """Add the IDs of any number of tasks."""
    return click.argument("ids", metavar="[ID]...", nargs=-1)(command)


def own_id_argument(command: Command) -> Command:
    """Add the ID of one task. The default is the task in which the command runs."""
    return click.argument("id", required=False, envvar=TASK_VARIABLE)(command)


def require_ids(ids: Sequence[str]) -> None:
    """Raise UsageError if no task is named."""
    if not ids:
        raise click.UsageError("Missing argument 'ID'", click.get_current_context())


def require_selection(ids: Sequence[str], has_option: bool, options: str) -> None:
    """Raise UsageError unless tasks are named by their IDs or by an option, and not by both."""
    if has_option and ids:
        raise click.UsageError(f"give IDs or {options}, not both", click.get_current_context())
    if not (has_option or ids):
        raise click.UsageError(f"Missing argument 'ID', or {options}", click.get_current_context())


def ended_ids(context: Context, statuses: Sequence[TaskStatus]) -> list[str]:
    """Return the IDs of the tasks with one of these statuses, oldest first."""
    from ...ipc.model.query import Filter

    if not context.has_database:
        return []
    return [task.id for task in reversed(context.tasks.list(Filter(statuses=statuses, limit=None)).tasks)]


def resolve_own_id(context: Context, id: str | None) -> str:
    """Return the full ID of the named task. Raises UsageError, NotFound, Ambiguous."""
    if not id:
        raise click.UsageError(
            f"Missing argument 'ID'; only inside a task it may be left out (${TASK_VARIABLE})",
            click.get_current_context(),
        )
    return context.resolve_id(id)


@contextmanager
def naming_options() -> Iterator[None]:
    """Name options in errors about a launch whose fields come from options."""
    try:
        yield
    except InvalidInput as error:
        from .input.refusal import with_options

        raise type(error)(with_options(str(error)), field=error.field) from None


def session_from_environment() -> str | None:
    """Return the session for which this command was started, or None."""
    return next((os.environ[name] for name in SESSION_VARIABLES if os.environ.get(name)), None)


class PerTask:
    """Runs one action on several tasks. An error about one task does not stop the others."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._errors: list[BackburnerError] = []

    def run(self, ids: Iterable[str], action: Callable[[str], Result]) -> list[Result]:
        """Return the results of `action(full ID)` for the tasks for which it succeeded.

        Permanent and temporary failures (exit codes from 100) are raised.
        """
        return [result for id in ids for result in self._try(id, action)]

    def report_errors(self) -> int:
        """Print the errors on stderr. Return the exit code of the first one, or 0."""
        from .errors import format_error

        for error in self._errors:
            print(format_error(error, self._context), file=sys.stderr)
        return self._errors[0].exit_code if self._errors else 0

    def _try(self, id: str, action: Callable[[str], Result]) -> list[Result]:
        try:
            return [action(self._context.resolve_id(id))]
        except BackburnerError as error:
            if error.exit_code >= 100:
                raise
            self._errors.append(error)
            return []
