"""What a process's end means: exit codes lie, so an agent's own record may say that it failed."""

from __future__ import annotations

import os
from typing import NamedTuple

from ipc.config import OWN_SESSION, AgentConfig
from ipc.rules import pick, read
from supervisor.children import signal_name
from supervisor.execution.outcome import Outcome

_PLAIN = AgentConfig()


class Said(NamedTuple):
    """What a process wrote, and the session that it was given."""

    stdout: str
    stderr: str
    session: str | None = None


def outcome_of(status: int, said: Said, agent: AgentConfig | None) -> Outcome:
    """Judge a wait status and what was written, by the agent's rules."""
    rules = agent or _PLAIN
    code = os.waitstatus_to_exitcode(status)
    session = session_of(said, rules)
    if code < 0:
        error = f"It was ended by {signal_name(-code)}."
        return Outcome(error=error, error_kind="signal", signal=-code, session=session)
    if code > 0:
        cause = cause_of(said, rules) or _last_line(said.stderr)
        return Outcome(error=f"exit code {code}{cause}", error_kind="exit", exit_code=code, session=session)
    flaw = _flaw(said, rules)
    if flaw is not None:
        error = flaw + (cause_of(said, rules) or _last_line(said.stderr) or _last_line(said.stdout))
        return Outcome(error=error, error_kind="failed", exit_code=0, session=session)
    return Outcome(result=read(rules.result, said.stdout), exit_code=0, session=session)


def session_of(said: Said, rules: AgentConfig) -> str | None:
    """The agent's own session, as far as it is known."""
    if rules.session in ("", OWN_SESSION):
        return said.session if rules.session else None
    return read(rules.session, said.stdout) or said.session


def _flaw(said: Said, rules: AgentConfig) -> str | None:
    """Why an exit code of 0 is not believed."""
    failure = next((rule for rule in rules.failed_if if failed(rule, said)), None)
    if failure is not None:
        return f"It says that it failed ({failure})"
    if read(rules.result, said.stdout) is None:  # who says nothing where its answer should be has not done its work
        return f"It ended well, but its output has no {rules.result}"
    return None


def failed(rule: str, said: Said) -> bool:
    """Whether a rule of `failed_if` finds its sign: a truthy value, or a match."""
    if rule.startswith(("stdout~", "stderr~")):
        return read(rule, said.stdout, said.stderr) is not None
    return bool(pick(rule, said.stdout))


def cause_of(said: Said, rules: AgentConfig) -> str:
    """The first of the agent's words for what went wrong, as the end of a sentence."""
    return next((cause for rule in rules.error if (cause := _short(read(rule, *said[:2]) or ""))), "")


def _last_line(text: str) -> str:
    return _short(text.rstrip().rpartition("\n")[2])


def _short(text: str) -> str:
    words = " ".join(text.split())  # some programs break their lines as for a terminal
    return f": {words[:500]}" if words else ""
