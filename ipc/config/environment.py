"""The variables that a task inherits, from the supervisor and from the program that launches it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

#: The variables that are always stored from a launcher, or stored as absent. They set where programs are found, which
#: language and formats they use, and how they reach the network.
ALWAYS_STORED = (
    *("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LANG", "LC_*", "TZ", "SSH_AUTH_SOCK"),
    *("*_PROXY", "*_proxy", "TRACEPARENT", "TRACESTATE", "BAGGAGE"),
)

#: Variables that describe where and by which program a process was started. No task inherits them.
PLACE = (
    *("PWD", "OLDPWD", "SHLVL", "_", "INIT_CWD", "npm_*", "VIRTUAL_ENV_PROMPT", "CONDA_PROMPT_MODIFIER", "CONDA_SHLVL"),
    # git, in a hook or an alias: `git rev-parse --local-env-vars`
    *("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_*_DIRECTORIES", "GIT_OBJECT_DIRECTORY"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_QUARANTINE_PATH", "GIT_CONFIG_PARAMETERS", "GIT_IMPLICIT_WORK_TREE"),
    *("GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_REFLOG_ACTION", "GIT_INTERNAL_*", "GIT_CHERRY_PICK_HELP"),
    *("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR"),
    # terminals and multiplexers
    *("TMUX*", "STY", "WINDOWID", "ZELLIJ*", "GPG_TTY", "SSH_TTY", "TERM_SESSION_ID", "ITERM_SESSION_ID"),
    *("KITTY_WINDOW_ID", "KITTY_PID", "WEZTERM_PANE", "KONSOLE_DBUS_*", "ALACRITTY_WINDOW_ID"),
    # service managers: systemd.exec(5), supervisord
    *("NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM"),
    *("SYSTEMD_EXEC_PID", "MANAGERPID", "SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME"),
    *("SUPERVISOR_SERVER_URL",),
)

#: The variables that git sets for the hooks of a commit together with `GIT_AUTHOR_DATE`. Without that one, a user has
#: set them.
_AUTHOR = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL")

#: The variables that mark a process as a part of a session, by the agent that sets them.
SESSION_MARKS = {
    "claude": (
        *("CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT"),
        *("CLAUDE_CODE_EXECPATH", "CLAUDE_CODE_CHILD_SESSION", "CLAUDE_CODE_PARENT_*", "CLAUDE_CODE_AGENT*"),
        *("CLAUDE_CODE_REMOTE*", "CLAUDE_CODE_CONTAINER_ID", "CLAUDE_AGENT_SDK_VERSION", "CLAUDE_PROJECT_DIR"),
        *("CLAUDE_PLUGIN_ROOT", "CLAUDE_PLUGIN_DATA", "CLAUDE_ENV_FILE", "CLAUDE_EFFORT"),
    ),
    "codex": (
        *("CODEX_SANDBOX*", "CODEX_THREAD_ID", "CODEX_SESSION_ID", "CODEX_CI", "CODEX_INTERNAL_*"),
        *("CODEX_MANAGED_*", "CODEX_SHELL"),
    ),
    "cursor-agent": ("CURSOR_AGENT", "CURSOR_TRACE_ID", "CURSOR_INVOKED_AS"),
    "gemini": ("GEMINI_CLI", "GEMINI_CLI_NO_RELAUNCH", "GEMINI_SESSION_ID"),
    "goose": ("GOOSE_TERMINAL", "AGENT_SESSION_ID"),
    "opencode": (
        *("OPENCODE", "OPENCODE_PID", "OPENCODE_PROCESS_ROLE", "OPENCODE_RUN_ID", "OPENCODE_CALLER"),
        *("OPENCODE_CLIENT", "OPENCODE_SESSION*", "OPENCODE_SERVER_*"),
    ),
    "qwen": ("QWEN_CODE", "QWEN_CODE_NO_RELAUNCH", "QWEN_CODE_SESSION*"),
}

#: The variables that mark a process as a part of any session or of a task of backburner.
_MARKS = ("AI_AGENT", "BACKBURNER_*", *chain.from_iterable(SESSION_MARKS.values()))

#: All variables that a task inherits only if its launch or `pass_env` names them in full.
FOREIGN = (*PLACE, *_MARKS)


class Wanted(NamedTuple):
    """Patterns of the variables that a launch takes from the launcher.

    Variables in `always` replace those of the supervisor, also where the launcher has none of them. Variables in
    `group` do so together, if the launcher has any of them.
    """

    always: tuple[str, ...] = ALWAYS_STORED
    group: tuple[str, ...] = ()


#: All variables of the launcher, and none of the supervisor.
EVERYTHING = Wanted(("*",))


class Captured(NamedTuple):
    """The variables that are stored from a launcher, and the names of its other variables.

    Null stands for variables that the launcher does not have: the task does not get those of the supervisor. Such a
    name may be a pattern.
    """

    variables: Mapping[str, str | None]
    dropped: tuple[str, ...]


def captured(environ: Mapping[str, str], wanted: Wanted) -> Captured:
    """Return what a launch takes from the environment of the launcher."""
    # CPython keeps os.environ encoded in this dict. Comparing it takes 3 us, decoding 50 variables takes 40 us.
    encoded = getattr(environ, "_data", None)
    if isinstance(encoded, dict):
        return _captured_encoded(tuple(encoded.items()), wanted)
    return _captured(environ, wanted)


@lru_cache(8)  # every launch of a process has the same environment
def _captured_encoded(variables: tuple[tuple[bytes, bytes], ...], wanted: Wanted) -> Captured:
    return _captured({os.fsdecode(name): os.fsdecode(value) for name, value in variables}, wanted)


def _captured(environ: Mapping[str, str], wanted: Wanted) -> Captured:
    has_group = any(_is_wanted(name, wanted.group) for name in environ)
    patterns = (*wanted.always, *(wanted.group if has_group else ()))
    found = {
        name: value
        for name, value in environ.items()
        if name and _is_wanted(name, patterns) and is_storable(name + value)
        if name in patterns or not _is_of_a_commit(name, environ)
    }
    absent = dict.fromkeys(name for name in patterns if name not in found)
    dropped = sorted(name.encode(errors="replace").decode() for name in environ if name not in found)
    return Captured(MappingProxyType({**absent, **found}), tuple(dropped))


def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return name in patterns if is_foreign(name) else matches(name, patterns)


def is_storable(text: str) -> bool:
    """Return True if a text can be stored. Text that is not UTF-8 cannot be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def layered(base: Mapping[str, str], stored: Mapping[str, str | None]) -> dict[str, str]:
    """Return the supervisor's variables with those of a launcher in their place. See `Captured`."""
    patterns = tuple(name for name, value in stored.items() if value is None)
    kept = {name: value for name, value in base.items() if not matches(name, patterns)}
    return kept | {name: value for name, value in stored.items() if value is not None}


def without_our_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without `BACKBURNER_*`, which mark a process as a part of a task or as a role."""
    return {name: value for name, value in environ.items() if not name.startswith("BACKBURNER_")}


def is_foreign(name: str) -> bool:
    """Return True if a variable describes another place, session or task. A task gets it only if it is named."""
    return matches(name, FOREIGN)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a supervisor that a task may inherit."""
    return {name: value for name, value in environ.items() if not (is_foreign(name) or _is_of_a_commit(name, environ))}


def _is_of_a_commit(name: str, environ: Mapping[str, str]) -> bool:
    """Return True if a variable names the author of the commit whose hook has this environment."""
    return name in _AUTHOR and "GIT_AUTHOR_DATE" in environ


def named(environ: Collection[str], patterns: Iterable[str]) -> Iterator[str]:
    """Yield the names that match one of the patterns."""
    wanted = tuple(patterns)
    return (name for name in environ if matches(name, wanted))


@lru_cache(4096)  # the same names are matched at every launch and start; without the cache a launch takes twice as long
def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Return True if a name is equal to one of the patterns, or matches it."""
    sorted_patterns = _sorted(patterns)
    return (
        name in sorted_patterns.names
        or name.startswith(sorted_patterns.starts)
        or any(_is_between(name, start, end) for start, end in sorted_patterns.ends)
        or any(fnmatchcase(name, pattern) for pattern in sorted_patterns.others)
    )


class _Patterns(NamedTuple):
    """Patterns by kind. Most are names, starts, or a start and an end, and need no regular expression."""

    names: frozenset[str]
    starts: tuple[str, ...]
    ends: tuple[tuple[str, str], ...]
    others: tuple[str, ...]


@lru_cache(64)
def _sorted(patterns: tuple[str, ...]) -> _Patterns:
    plain = {pattern for pattern in patterns if not any(sign in pattern for sign in "*?[")}
    single = {pattern for pattern in patterns if pattern.count("*") == 1 and "?" not in pattern and "[" not in pattern}
    parts = [tuple(pattern.split("*")) for pattern in single]
    return _Patterns(
        frozenset(plain),
        tuple(start for start, end in parts if not end),
        tuple((start, end) for start, end in parts if end),
        tuple(pattern for pattern in patterns if pattern not in plain and pattern not in single),
    )


def _is_between(name: str, start: str, end: str) -> bool:
    return len(name) >= len(start) + len(end) and name.startswith(start) and name.endswith(end)
