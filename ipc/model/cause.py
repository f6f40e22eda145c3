"""Describe the end of a task: why it failed, which attempt it was, and the rest that a person should know."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..text.durations import format_setting
from ..text.screen import one_line
from .task import Task, TaskStatus

#: The part of an error for a program that does not exist. Shells use the same words.
NOT_FOUND = "command not found"

#: The maximum number of characters of an error in a cause.
MAX_ERROR = 200

#: The start of an error that an agent reported.
_REPORTED = "it says that it failed: "

_SHORT_ID = re.compile(r"bg-([0-9a-f]{8})")


class _End(NamedTuple):
    """The fields of a task that describe its end."""

    kind: str
    error: str
    exit_code: int | None
    signal: int | None
    timeout_ms: int | None


def cause(task: Task) -> str:
    """Return why the task, or its last attempt, failed, in a few words: «exit code 2», «killed by SIGSEGV».

    Return an empty string for a task that did not fail.
    """
    return _cause(_End(task.error_kind or "", task.error or "", task.exit_code, task.signal, task.timeout_ms))


def cause_in(document: Mapping[str, Any]) -> str:
    """Return the cause from a task's JSON, whole or brief."""
    kind, error = document.get("errorKind") or "", document.get("error") or ""
    return _cause(_End(kind, error, document.get("exitCode"), document.get("signal"), document.get("timeoutMs")))


def attempts(task: Task) -> str:
    """Return the attempt and the number of attempts, such as «2/3». Return an empty string for a single attempt."""
    return f"{task.attempt}/{task.max_attempts}" if task.max_attempts > 1 and task.attempt else ""


def outcome(task: Task) -> str:
    """Return the status of a task with its cause, such as «failed: exit code 2, attempt 3/3»."""
    words = "failed" if task.status is TaskStatus.ERROR else task.status.value
    attempt = attempts(task)
    details = [cause(task).removeprefix("failed: "), f"attempt {attempt}" if attempt else ""]
    return ": ".join(filter(None, [words, ", ".join(filter(None, details))]))


def leftovers(task: Task) -> str:
    """Return how many processes were ended with the task, and the way to keep them, or an empty string."""
    if not task.leftovers:
        return ""
    processes = (
        "1 process it left behind was" if task.leftovers == 1 else f"{task.leftovers} processes it left behind were"
    )
    return f"{processes} ended (leave_children keeps them)"


def signal_name(number: int) -> str:
    """Return the name of a signal, for example `SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cause(end: _End) -> str:
    describe = _DESCRIPTIONS.get(end.kind)
    return (describe(end) if describe else "") or end.kind


def _of_signal(end: _End) -> str:
    return f"killed by {signal_name(end.signal)}" if end.signal else ""


def _of_timeout(end: _End) -> str:
    return f"timeout after {format_setting(end.timeout_ms)}" if end.timeout_ms else ""


def _of_spawn(end: _End) -> str:
    if NOT_FOUND in end.error:
        return NOT_FOUND
    return f"cannot start: {_clause(end.error)}" if end.error else ""


def _of_dependency(end: _End) -> str:
    blocker = _SHORT_ID.search(end.error)
    verb = "was cancelled" if "cancelled" in end.error else "failed"
    return f"dependency {blocker[1]} {verb}" if blocker else "dependency failed"


def _of_error(end: _End) -> str:
    return f"{end.kind}: {_clause(end.error).removeprefix(_REPORTED)}" if end.error else ""


#: How each kind of error is described. The kind itself stands for an empty description.
_DESCRIPTIONS: dict[str, Callable[[_End], str]] = {
    "exit": lambda end: f"exit code {end.exit_code}",
    "signal": _of_signal,
    "timeout": _of_timeout,
    "spawn": _of_spawn,
    "dependency": _of_dependency,
    **dict.fromkeys(("failed", "stalled", "lost", "interrupted", "expired"), _of_error),
}


def _clause(error: str) -> str:
    """Return an error on one line, as the end of a sentence."""
    line = one_line(error, MAX_ERROR).rstrip(".")
    first = line.partition(" ")[0]
    return line[:1].lower() + line[1:] if first in ("It", "Its", "The", "There", "No", "A") else line
