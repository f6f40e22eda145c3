"""What a task gets of its launcher's environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

#: Stored from every launcher: where programs are found, and how they talk.
KEPT = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LANG", "LC_*", "TZ", "SSH_AUTH_SOCK")

#: What would make a task take itself for its launcher's session, for another task, or for the supervisor's unit.
FOREIGN = (
    "CLAUDECODE",
    "CLAUDE_CODE_*",
    "CODEX_*",
    "OPENCODE*",
    "GEMINI_CLI",
    "QWEN_CODE_*",
    "AI_AGENT",
    "BACKBURNER_*",
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
)


def captured(environ: Mapping[str, str], pass_env: Iterable[str] = ()) -> dict[str, str]:
    """What is stored with a task unasked: the usual names, and those that match `pass_env`."""
    wanted = (*KEPT, *pass_env)
    names = [name for name in environ if _matches(name, wanted)]  # of all others the value is not even read
    return inherited({name: environ[name] for name in names})


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """All of an environment that a task may have unasked; what is no UTF-8 cannot be stored."""
    return {name: value for name, value in environ.items() if not is_foreign(name) and _storable(name + value)}


def of_nobody(environ: Mapping[str, str]) -> dict[str, str]:
    """All of an environment but what we say to our own processes: who has it is no part of a task, nor a role."""
    return {name: value for name, value in environ.items() if not name.startswith("BACKBURNER_")}


def is_foreign(name: str) -> bool:
    """Whether a variable speaks of somebody else: a task has it only if its launch said so."""
    return _matches(name, FOREIGN)


@lru_cache(4096)  # the same names come with every launch and every start: it was half of the cost of a launch
def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(_matches_one(name, pattern) for pattern in patterns)


def _matches_one(name: str, pattern: str) -> bool:
    """Most patterns are names or beginnings, and need no regular expression."""
    start = pattern.removesuffix("*")
    if any(sign in start for sign in "*?["):
        return fnmatchcase(name, pattern)
    return name == pattern if start == pattern else name.startswith(start)


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
