"""What a process's end means: exit codes lie, so an agent's own record may say that it failed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from ipc.config import AgentConfig
from supervisor.children import signal_name
from supervisor.execution.outcome import Outcome

_PLAIN = AgentConfig()


def outcome_of(status: int, stdout: str, stderr: str, agent: AgentConfig | None) -> Outcome:
    """Judge a wait status and what was written, by the agent's rules."""
    rules = agent or _PLAIN
    code = os.waitstatus_to_exitcode(status)
    session = _text(pick(rules.session, stdout)) if rules.session else None
    if code < 0:
        return Outcome(
            error=f"It was ended by {signal_name(-code)}.", error_kind="signal", signal=-code, session=session
        )
    if code > 0:
        return Outcome(
            error=f"exit code {code}{_last_line(stderr)}", error_kind="exit", exit_code=code, session=session
        )
    failure = next((rule for rule in rules.failed_if if failed(rule, stdout)), None)
    if failure is not None:
        error = f"It says that it failed ({failure}){_last_line(stderr) or _last_line(stdout)}"
        return Outcome(error=error, error_kind="failed", exit_code=0, session=session)
    result = _result(rules.result or "stdout", stdout)
    if result is None:  # an agent that says nothing where its answer should be has not done its work
        error = f"It ended well, but its output has no {rules.result}{_last_line(stderr) or _last_line(stdout)}"
        return Outcome(error=error, error_kind="failed", exit_code=0, session=session)
    return Outcome(result=result, exit_code=0, session=session)


def failed(rule: str, stdout: str) -> bool:
    """Whether a rule of `failed_if` finds its sign: `json:PATH` truthy, or `stdout~REGEX` somewhere."""
    if rule.startswith("stdout~"):
        return re.search(rule.removeprefix("stdout~"), stdout) is not None
    return bool(pick(rule, stdout))


def pick(rule: str, stdout: str) -> Any:
    """The value a rule points at: `json:PATH` in the whole output, `jsonl:PATH` in the last line that has it."""
    kind, _, path = rule.partition(":")
    documents = reversed(list(_lines_of_json(stdout))) if kind == "jsonl" else _whole_json(stdout)
    return next((value for document in documents if (value := _at(document, path)) is not None), None)


def _result(rule: str, stdout: str) -> str | None:
    if rule == "stdout":
        return stdout.removesuffix("\n")
    if rule == "last-line":
        return stdout.rstrip("\n").rpartition("\n")[2]
    return _text(pick(rule, stdout))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _whole_json(stdout: str) -> Iterator[Any]:
    try:
        yield json.loads(stdout)
    except (ValueError, RecursionError):
        return


def _lines_of_json(stdout: str) -> Iterator[Any]:
    for line in stdout.splitlines():
        yield from _whole_json(line)


def _at(document: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.lstrip("-").isdigit() and -len(document) <= int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _last_line(text: str) -> str:
    line = text.rstrip().rpartition("\n")[2].strip()
    return f": {line[:500]}" if line else ""
