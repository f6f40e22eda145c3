"""What a process's end means: exit codes lie, so an agent's own record may say that it failed."""

from __future__ import annotations

import os
from typing import NamedTuple

from ...ipc.config.extract import pick, read
from ...ipc.config.settings import OWN_SESSION, AgentConfig
from ..system.children import signal_name
from .outcome import Outcome
from .wording import cause, plain

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
        why = cause_of(said, rules) or _last_line(said.stderr)
        return Outcome(error=f"exit code {code}{why}", error_kind="exit", exit_code=code, session=session)
    flaw = _flaw(said, rules)
    if flaw is not None:
        why = cause_of(said, rules) or _last_line(said.stderr) or _last_line(said.stdout) or "."
        return Outcome(error=flaw + why, error_kind="failed", exit_code=0, session=session)
    return Outcome(result=read(rules.result, said.stdout), exit_code=0, session=session)


def session_of(said: Said, rules: AgentConfig) -> str | None:
    """The agent's own session, as far as it is known."""
    if rules.session in ("", OWN_SESSION):
        return said.session if rules.session else None
    return read(rules.session, said.stdout) or said.session


def _flaw(said: Said, rules: AgentConfig) -> str | None:
    """Why an exit code of 0 is not believed."""
    if any(failed(rule, said) for rule in rules.failed_if):
        return "It says that it failed"
    if read(rules.result, said.stdout) is None:  # who says nothing where its answer should be has not done its work
        return "It ended well, but without an answer"
    return None


def failed(rule: str, said: Said) -> bool:
    """Whether a rule of `failed_if` finds its sign: a truthy value, or a match."""
    if rule.startswith(("stdout~", "stderr~")):
        return read(rule, said.stdout, said.stderr) is not None
    return bool(pick(rule, said.stdout))


def cause_of(said: Said, rules: AgentConfig) -> str:
    """The first of the agent's words for what went wrong, as the end of a sentence."""
    return next((words for rule in rules.error if (words := cause(plain(read(rule, *said[:2]) or "")))), "")


def _last_line(text: str) -> str:
    return cause(text.rstrip().rpartition("\n")[2])
