"""Determine the outcome of an ended process. After exit code 0, an agent's output may still report a failure."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from ...ipc.config.agents import ASSIGNED_SESSION, AgentConfig
from ...ipc.config.extract import pick, read
from ...ipc.model.cause import signal_name
from ...ipc.text.screen import last_line, one_line
from ..system.signals import TimeLimitExceeded, time_limit
from .outcome import Outcome

#: The maximum number of characters of a reported cause, and of the text that is searched for it.
MAX_CAUSE, MAX_SEARCHED = 500, 10_000

#: The maximum number of levels of nested JSON that are searched. No provider needs more, and the stack is limited.
MAX_DEPTH = 20

#: JSON members of a provider's error. They hold its message, its status, and the object around both.
MESSAGES = ("message", "detail")
STATUSES = ("code", "statusCode", "status_code", "status")
WRAPPERS = ("error", "data")

#: The maximum number of seconds for which the regular expressions of an agent are applied to an output.
MAX_RULE_SECONDS = 2.0

#: The error of an attempt that cannot be judged.
SLOW_RULES = f"The rules of its agent took longer than {MAX_RULE_SECONDS:g} s for its output."

_DECODER = json.JSONDecoder()
_NO_RULES = AgentConfig()


class Output(NamedTuple):
    """The output of a process, and the session that was assigned to it."""

    stdout: str
    stderr: str
    session: str | None = None


def outcome_of(status: int, output: Output, agent: AgentConfig | None) -> Outcome:
    """Determine the outcome from the wait status and the output, by the agent's rules."""
    rules = agent or _NO_RULES
    code = os.waitstatus_to_exitcode(status)
    session = session_of(output, rules)
    if code < 0:
        error = f"It was ended by {signal_name(-code)}."
        return Outcome(error=error, error_kind="signal", signal=-code, session=session)
    if code > 0:
        cause = cause_of(output, rules) or _last_line(output)
        return Outcome(error=f"exit code {code}{cause}", error_kind="exit", exit_code=code, session=session)
    try:
        with _bounded(rules.failed_if, (rules.result,)):
            failure = _failure(output, rules)
            result = None if failure else read(rules.result, output.stdout)
    except TimeLimitExceeded:  # the attempt may have failed
        return Outcome(error=SLOW_RULES, error_kind="failed", exit_code=0, session=session)
    if failure is not None:
        cause = cause_of(output, rules) or _last_line(output) or "."
        return Outcome(error=failure + cause, error_kind="failed", exit_code=0, session=session)
    return Outcome(result=result, exit_code=0, session=session)


def _bounded(*rules: Sequence[str]) -> AbstractContextManager[None]:
    """Limit the time for rules with regular expressions: one of a user may take any time for some outputs."""
    has_regex = any(rule.startswith(("stdout~", "stderr~")) for group in rules for rule in group)
    return time_limit(MAX_RULE_SECONDS) if has_regex else nullcontext()


def session_of(output: Output, rules: AgentConfig) -> str | None:
    """Return the agent's session, or None if it is unknown."""
    if rules.session in ("", ASSIGNED_SESSION):
        return output.session if rules.session else None
    try:
        with _bounded((rules.session,)):
            return read(rules.session, output.stdout) or output.session
    except TimeLimitExceeded:
        return output.session


def _failure(output: Output, rules: AgentConfig) -> str | None:
    """Return the reason why an attempt with exit code 0 has failed, or None."""
    if any(indicates_failure(rule, output) for rule in rules.failed_if):
        return "It says that it failed"
    if read(rules.result, output.stdout) is None:  # an agent without an answer has not done its work
        return "It ended well, but without an answer"
    return None


def indicates_failure(rule: str, output: Output) -> bool:
    """Return True if a rule of `failed_if` finds a truthy value, or a match."""
    if rule.startswith(("stdout~", "stderr~")):
        return read(rule, output.stdout, output.stderr) is not None
    return bool(pick(rule, output.stdout))


def cause_of(output: Output, rules: AgentConfig) -> str:
    """Return the first error message that the agent's rules find, as the end of a sentence, or an empty string."""
    clauses = (as_clause(unwrap_json(read(rule, *output[:2]) or "")) for rule in rules.error)
    try:
        with _bounded(rules.error):
            return next(filter(None, clauses), "")
    except TimeLimitExceeded:
        return ""


def _last_line(output: Output) -> str:
    """Return the last line of stderr as the end of a sentence. Some programs report errors on stdout alone."""
    return as_clause(last_line(output.stderr[-MAX_SEARCHED:]) or last_line(output.stdout[-MAX_SEARCHED:]))


def as_clause(text: str) -> str:
    """Return a text as the end of a sentence, in one line, or an empty string if it has no line."""
    line = one_line(text)[:MAX_CAUSE]  # some programs break their lines as for a terminal
    return f": {line}" if line else ""


def unwrap_json(text: str) -> str:
    """Replace JSON objects in a text by their error messages, because agents print the responses of providers."""
    return "".join(_parts(text[:MAX_SEARCHED]))


def _parts(text: str) -> Iterator[str]:
    end = 0
    while (begin := text.find("{", end)) >= 0:
        yield text[end:begin]
        document, end = _document(text, begin)
        yield _message(document) or text[begin:end]
    yield text[end:]


def _document(text: str, begin: int) -> tuple[Any, int]:
    """Return the object that begins at this position, and its end. The object is None if it is not valid JSON."""
    try:
        return _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, begin + 1


def _message(document: Any, depth: int = 0) -> str:
    """Return the status and the message of an object, or an empty string. The message may hold JSON itself."""
    if not isinstance(document, dict) or depth > MAX_DEPTH:
        return ""
    message = _first(document, MESSAGES, str)
    if not message:
        return next((nested for name in WRAPPERS if (nested := _message(document.get(name), depth + 1))), "")
    text, status = unwrap_json(message), _first(document, STATUSES, int)
    return text if status is None or str(status) in text else f"{status} {text}"


def _first(document: dict[str, Any], names: tuple[str, ...], kind: type) -> Any:
    return next((document[name] for name in names if isinstance(document.get(name), kind)), None)
