"""Error messages and exit codes."""

from __future__ import annotations

import re
import sys
from contextlib import suppress

import click

from ...ipc.errors import (
    INTERRUPTED,
    AlreadyRunning,
    BackburnerError,
    GateBusy,
    InvalidInput,
    MoveNotAllowed,
    NoSupervisor,
    NotFound,
    Temporary,
)
from .context import Context

#: A task's ID. Its first part is enough for a command.
_ID = r"bg-([0-9a-f]{8})"

#: The next step by class of error, for messages that name no command. The first matching class counts.
_NEXT_STEPS: tuple[tuple[type[BackburnerError], str], ...] = (
    (NoSupervisor, "start one: backburner up --detach"),
    (AlreadyRunning, "see: backburner status"),
    (NotFound, "run 'backburner list' to see task IDs"),
    (MoveNotAllowed, "see: backburner show {id}"),
    (GateBusy, "try again"),
    (Temporary, "try again later"),
)


def report_error(error: Exception, context: Context) -> int:
    """Print an error on stderr and return the exit code. An unexpected error is raised again."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        return _report_usage_error(error)
    if isinstance(error, UnicodeEncodeError):
        error = InvalidInput("an argument is not valid UTF-8; pass such text in a file")
    error = _without_shortage(error)
    if not isinstance(error, BackburnerError):
        _print(f"backburner: internal error (state directory: {context.home_label}); please report what follows")
        raise error
    _print(format_error(error, context))
    return error.exit_code


def _without_shortage(error: Exception) -> Exception:
    """Return a passing shortage as an error of ours, and any other error as it is."""
    from ...ipc.machine.shortage import is_shortage

    return Temporary(str(error)) if isinstance(error, OSError) and is_shortage(error) else error


def format_error(error: BackburnerError, context: Context) -> str:
    """Return the line for stderr: what happened, the next step, and where it matters the state directory."""
    message = _uncapitalised(str(error).rstrip("."))
    step = _next_step(error)
    if step and "backburner " not in message:
        message += f"; {step}"
    if type(error) is InvalidInput:  # the state directory has nothing to do with it
        return f"backburner: {message}"
    return f"backburner: {_with_home(message, context)}"


def _next_step(error: BackburnerError) -> str:
    """Return the advice for an error, with the ID of the task in its message. Advice that lacks an ID is omitted."""
    step = next((text for kind, text in _NEXT_STEPS if isinstance(error, kind)), "")
    found = re.search(_ID, str(error))
    return step.format(id=found[1]) if found else "" if "{id}" in step else step


def _report_usage_error(error: click.ClickException) -> int:
    """Print what is wrong with the command line. A group that is called without a command prints its help."""
    message, ctx = _usage_message(error), getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _print(message)
        return error.exit_code
    if isinstance(error, click.MissingParameter):  # the usage names the choices
        message = message.partition(". Choose from:")[0]
    step = "" if ctx is None or "backburner " in message else f"; see: {ctx.command_path} --help"
    _print(f"backburner: {_uncapitalised(message)}{step}")
    return error.exit_code


def _usage_message(error: click.ClickException) -> str:
    """Return what is wrong, with the most similar option in the form that all messages have."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"No such option '{error.option_name}' (did you mean {error.possibilities[0]}?)"
    message = error.format_message()
    if isinstance(error, click.MissingParameter):  # the name of a choice has the values already
        message = message.partition(" Choose from:")[0]
    return message.rstrip(".")


def _with_home(message: str, context: Context) -> str:
    home = context.home_label
    if home in message:
        return message
    return f"{message}\n(state directory: {home})" if "\n" in message else f"{message} (state directory: {home})"


def _uncapitalised(message: str) -> str:
    """Return a message with a small first letter. A name such as JSON or CPU is unchanged."""
    return message[:1].lower() + message[1:] if message[1:2].islower() or message[1:2] == " " else message


def _print(text: str) -> None:
    with suppress(OSError):  # stderr may be a log on a full disk, and the exit code still counts
        print(text, file=sys.stderr, flush=True)
