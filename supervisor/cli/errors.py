"""Errors as sentences and exit codes."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress

import click

from ...ipc.errors import (
    AlreadyRunning,
    BackburnerError,
    GateBusy,
    InvalidInput,
    MoveNotAllowed,
    NoSupervisor,
    NotFound,
    Temporary,
)
from .context import Desk

#: What a shell shows for Ctrl-C.
INTERRUPTED = 130

#: What to do about it, where the error itself does not say so; the first class that fits counts.
_ADVICE: tuple[tuple[type[BackburnerError], str], ...] = (
    (NoSupervisor, "start one: backburner up --detach"),
    (AlreadyRunning, "see: backburner status"),
    (NotFound, "see: backburner list"),
    (MoveNotAllowed, "see: backburner show ID"),
    (GateBusy, "try again"),
    (Temporary, "try again later"),
)

#: What passes when somebody makes room.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def code_of(error: Exception, desk: Desk) -> int:
    """Say on stderr what went wrong; the exit code. What nobody expected is raised again, to be seen."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        return _usage(error, desk)
    if isinstance(error, UnicodeEncodeError):
        error = InvalidInput("an argument is no UTF-8; give such texts by file")
    if isinstance(error, OSError) and error.errno in _FULL:
        error = Temporary(str(error))
    if not isinstance(error, BackburnerError):
        _say(f"backburner: this is a mistake in backburner itself (home: {desk.place}).")
        raise error
    _say(sentence(error, desk))
    return error.exit_code


def sentence(error: BackburnerError, desk: Desk) -> str:
    """What went wrong, what to do, and in which home."""
    message = str(error).rstrip(".")
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    if advice and "backburner " not in message:
        message += f"; {advice}"
    return f"backburner: {_placed(message, desk)}"


def _usage(error: click.ClickException, desk: Desk) -> int:
    context = getattr(error, "ctx", None)
    if context is not None:
        _say(context.get_usage())
    advice = "" if context is None else f"; see: {context.command_path} --help"
    _say(f"backburner: {_placed(error.format_message().rstrip('.') + advice, desk)}")
    return error.exit_code


def _placed(message: str, desk: Desk) -> str:
    home = desk.place
    if home in message:
        return message
    return f"{message}\n(home: {home})" if "\n" in message else f"{message} (home: {home})"


def _say(text: str) -> None:
    """On stderr, where that takes anything: it may be a log on a full disk, and the exit code still counts."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
