"""Determine the command, environment and stdin of a task. Nothing is started here."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...ipc.config.agents import AgentConfig
from ...ipc.config.arguments import arguments_of, fill
from ...ipc.config.environment import inherited as inherited_from
from ...ipc.config.environment import layered
from ...ipc.errors import Temporary
from ...ipc.home import Home
from ...ipc.machine import input_pipe
from ...ipc.model.cause import NOT_FOUND
from ...ipc.model.claim import Claimed, Taken, decoded_environment
from ...ipc.text.screen import one_line
from .process_tree import CLAIM_MARK, HOME_ID_MARK, HOME_MARK, SPARE_MARK

#: The maximum number of launchers' environments that are kept in memory. Each may have a megabyte.
MAX_ENVIRONMENTS = 8

#: The maximum number of characters of a PATH in a message.
MAX_PATH = 1000


class CannotStart(Exception):
    """A task could not be started. `exit_code` is what a shell would report."""

    def __init__(self, why: str, exit_code: int = 127) -> None:
        super().__init__(why)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Plan:
    """The process to start: folder, arguments, environment and input."""

    cwd: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: str
    #: The agent's session, which is new or continued.
    session: str | None = None
    #: The umask, in octal. None: that of this worker.
    umask: str | None = None


def environment_of(claimed: Claimed, home: Home, given: Mapping[str, str], leave_children: bool) -> dict[str, str]:
    """Return the environment of a task.

    Later variables override earlier ones in this order: the inherited variables, the launcher's, `given` (the agent's),
    those that the launch names, and our marks.
    """
    environment = with_named({**layered(inherited(), claimed.launcher_env), **given}, claimed.env)
    environment |= {
        "PWD": claimed.cwd,
        HOME_MARK: str(home.folder),
        HOME_ID_MARK: home.id,
        CLAIM_MARK: str(claimed.claim),
        "BACKBURNER_TASK_ID": claimed.id,
        "BACKBURNER_ATTEMPT": str(claimed.attempt),
    }
    if claimed.parent is not None:
        environment["BACKBURNER_PARENT_SESSION_ID"] = claimed.parent
    if leave_children:
        environment[SPARE_MARK] = "1"
    return environment


def command_plan(claimed: Claimed, home: Home, given: Mapping[str, str]) -> Plan:
    """Return the process of a command."""
    assert claimed.command is not None, "a launch of the agent `command` has one"
    environment = environment_of(claimed, home, given, bool(claimed.leave_children))
    stdin = stdin_path(claimed, home, claimed.stdin)
    return Plan(claimed.cwd, claimed.command, environment, stdin, umask=claimed.umask)


def agent_plan(claimed: Claimed, home: Home, agent: AgentConfig) -> Plan:
    """Return the process of an agent, from its template."""
    leave = agent.leave_children if claimed.leave_children is None else claimed.leave_children
    values = placeholders(claimed, home, agent)
    further = [*(fill(argument, values) for argument in agent.args), *claimed.agent_args]
    argv = tuple(arguments_of(agent.resume if claimed.session else agent.command, further, values))
    text = claimed.stdin if claimed.stdin is not None else fill(agent.stdin, values) if agent.stdin else None
    environment = environment_of(claimed, home, agent.env, leave)
    session = claimed.session or values["{uuid}"]
    return Plan(claimed.cwd, argv, environment, stdin_path(claimed, home, text), session, claimed.umask)


def placeholders(claimed: Claimed, home: Home, agent: AgentConfig) -> dict[str, str]:
    """Return the value of each placeholder. Write the prompt to a file if the template refers to one."""
    prompt = claimed.prompt or ""
    file = home.input(f"{claimed.claim}.prompt")
    if "{prompt_file}" in str((agent.command, agent.resume, agent.stdin, agent.args)):
        _write_private(file, prompt)
    return {
        "{prompt}": prompt,
        "{prompt_file}": str(file),
        "{model}": claimed.model or "",
        "{description}": claimed.description or "",
        "{task_id}": claimed.id,
        "{parent_session_id}": claimed.parent or "",
        "{uuid}": str(uuid.uuid4()),
        "{session}": claimed.session or "",
    }


def write_order(claim: int, home: Home, order: bytes) -> str:
    """Write an order to a file because it is too large for a runner's queue. Return the path. Raises Temporary."""
    path = home.input(f"{claim}.order")
    _write_private(path, order.decode())
    return str(path)


def stdin_path(claimed: Claimed, home: Home, text: str | None) -> str:
    """Return the path of a task's stdin. Write the text, if there is one, to a file. Raises CannotStart, Temporary."""
    if claimed.stdin_file is not None:
        return str(stdin_file(claimed, home))
    if text is None:
        return os.devnull
    file = home.input(f"{claimed.claim}.stdin")
    _write_private(file, text)
    return str(file)


def stdin_file(claimed: Claimed, home: Home) -> Path:
    """Return the file or the pipe for the stdin of an attempt. Raises CannotStart if it is gone."""
    assert claimed.stdin_file is not None, "the caller has checked it"
    path = home.input(claimed.stdin_file)
    if path.is_fifo() and not path.is_symlink():
        path = input_pipe.path_of(path, claimed.attempt)
    if not os.path.lexists(path):
        raise CannotStart("Its stdin was passed on from a command, and cannot be read again.", 1)
    return path


class Environments:
    """The environments of plain commands. Tasks of one launcher share all variables except the marks of the attempt."""

    def __init__(self, home: Home, given: Mapping[str, str]) -> None:
        """Base each environment on the inherited variables and on `given`, the configured variables."""
        self._marks = {HOME_MARK.encode(): os.fsencode(home.folder), HOME_ID_MARK.encode(): home.id.encode()}
        self._given = given
        self._known: dict[tuple[str | None, str | None], dict[bytes, bytes]] = {}

    def of(self, taken: Taken) -> dict[bytes, bytes]:
        """Return the environment of an attempt, encoded for posix_spawn."""
        task = taken.task
        environment = self._common(task.launcher_env, task.env).copy()
        environment[b"PWD"] = os.fsencode(task.cwd)
        environment[CLAIM_MARK.encode()] = b"%d" % taken.claim
        environment[b"BACKBURNER_TASK_ID"] = task.id.encode()
        environment[b"BACKBURNER_ATTEMPT"] = b"%d" % task.attempt
        if task.parent is not None:
            environment[b"BACKBURNER_PARENT_SESSION_ID"] = task.parent.encode()
        return environment

    def _common(self, launcher: str | None, named: str | None) -> dict[bytes, bytes]:
        found = self._known.get((launcher, named))
        if found is None:
            if len(self._known) >= MAX_ENVIRONMENTS:
                self._known.clear()
            base = {**layered(inherited(), decoded_environment(launcher)), **self._given}
            variables = with_named(base, decoded_environment(named))
            encoded = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
            found = self._known[launcher, named] = encoded | self._marks
        return found


def with_named(environment: dict[str, str], named: Mapping[str, str | None]) -> dict[str, str]:
    """Set the variables that a launch names in `environment`, in place. None stands for the supervisor's value."""
    for name, value in named.items():
        text = os.environ.get(name) if value is None else value
        if text is None:
            environment.pop(name, None)
        else:
            environment[name] = text
    return environment


def find_program(name: str, cwd: str, path: str | None) -> str:
    """Return the path of a program, searched in the task's PATH and relative to its folder. Raises CannotStart."""
    if "/" in name:
        return _program_at(name, os.path.join(cwd, name))
    folders = os.defpath if path is None else path
    for folder in folders.split(os.pathsep):
        file = f"{folder}/{name}" if folder.startswith("/") else os.path.join(cwd, folder, name)
        if os.access(file, os.X_OK) and not os.path.isdir(file):
            return file
    raise CannotStart(f"{name}: {NOT_FOUND} (in the task's PATH: {one_line(folders, MAX_PATH)})")


def _program_at(name: str, path: str) -> str:
    if not os.path.exists(path):
        raise CannotStart(f"{name}: {NOT_FOUND}")
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise CannotStart(f"{name}: not an executable file", 126)
    return path


@functools.cache
def inherited() -> dict[str, str]:
    """Return the variables that a task inherits from this worker. They never change."""
    return inherited_from(os.environ)


def _write_private(path: Path, text: str) -> None:
    """Write an input file of a task. Raises Temporary if this is not possible now."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise Temporary(f"{path} cannot be written now: {error.strerror}.") from error
