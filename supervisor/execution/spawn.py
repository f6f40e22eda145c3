"""Start the first process of a task."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache

from ...ipc.errors import Temporary
from ...ipc.failpoints import failpoint
from ...ipc.machine.input_pipe import BrokenOff, open_input
from ...ipc.machine.shortage import is_shortage
from .plan import CannotStart, Plan, find_program
from .process_tree import forget_status

#: Signals that our processes ignore or handle. A program expects their default actions.
DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGIO,
)

#: The shell of scripts without an interpreter.
SHELL = "/bin/sh"

_UNCHANGED = nullcontext()


def spawn(plan: Plan, outputs: list[str]) -> int:
    """Start a process in its own session. Return its process ID. Raises CannotStart, Temporary.

    The child creates the output files after the fork, so they exist only if it was started.
    """
    enter(plan.cwd)
    try:
        return _spawn(plan, find_program(plan.argv[0], plan.cwd, plan.environment.get("PATH")), outputs)
    finally:
        os.chdir("/")


def enter(folder: str) -> None:
    """Make this the current folder, which has no other use in a worker. Raises CannotStart, Temporary."""
    try:
        os.chdir(folder)
    except OSError as error:
        if is_shortage(error):
            raise Temporary(f"The folder {folder} cannot be used now: {error.strerror}.") from error
        raise CannotStart(f"The folder {folder} cannot be used: {error.strerror}.", 1) from error


def masked(mask: str | None) -> AbstractContextManager[object]:
    """Set this umask, in octal, within the context. None stands for that of this process."""
    own = _own_umask()
    wanted = own if mask is None else int(mask, 8)
    return _UNCHANGED if wanted == own else _masked(wanted, own)


@contextmanager
def _masked(mask: int, own: int) -> Iterator[None]:
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(own)


@cache
def _own_umask() -> int:
    own = os.umask(0o077)
    os.umask(own)
    return own


def _spawn(plan: Plan, program: str, outputs: list[str]) -> int:
    stdin = None if plan.stdin == os.devnull else open_stdin(plan.stdin)
    try:
        return _spawn_with(plan, program, outputs, stdin)
    finally:
        if stdin is not None:
            os.close(stdin)


def open_stdin(path: str) -> int:
    """Open the stdin of a task here, because opening a pipe in the child could block this process.

    Raises CannotStart, Temporary.
    """
    try:
        return open_input(path)
    except BrokenOff:
        raise CannotStart("The command that passes its stdin on has exited.", 1) from None
    except OSError as error:
        if is_shortage(error):
            raise Temporary(f"Its stdin cannot be opened now: {error.strerror}.") from error
        raise CannotStart(f"Its stdin {os.path.realpath(path)} cannot be opened: {error.strerror}.", 1) from error


def _spawn_with(plan: Plan, program: str, outputs: list[str], stdin: int | None) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, plan.stdin, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
        *((os.POSIX_SPAWN_OPEN, target, path, flags, 0o600) for target, path in enumerate(outputs, 1)),
    ]
    try:
        with masked(plan.umask), failpoint("task.spawn"):
            pid = os.posix_spawn(
                program,
                plan.argv,
                plan.environment,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=DEFAULT_SIGNALS,
            )
    except OSError as error:
        if command := shell_command(error, program, plan.argv):
            return _spawn_with(replace(plan, argv=tuple(command)), command[0], outputs, stdin)
        for path in outputs:
            with suppress(FileNotFoundError), failpoint("spawn.failed.unlink"):
                os.unlink(path)
        raise refusal(error, program, plan.argv[0]) from error
    forget_status(pid)
    return pid


def shell_command(error: OSError, program: str, argv: Sequence[str]) -> list[str]:
    """Return the command that runs a script without an interpreter in a shell, as execvp(3) does, or an empty list.

    A file with NUL characters at its start is not a script.
    """
    if error.errno != errno.ENOEXEC or b"\0" in _start_of(program):
        return []
    return [SHELL, argv[0] if "/" in argv[0] else program, *argv[1:]]


def refusal(error: OSError, program: str, name: str) -> CannotStart | Temporary:
    """Return the reason why a program that exists cannot be started: its interpreter may be missing."""
    if is_shortage(error):  # of processes, or of space, because the output files are created with the process
        return Temporary(f"No process can be started now: {error.strerror}.")
    first = _start_of(program).partition(b"\n")[0]
    interpreter = os.fsdecode(first.removeprefix(b"#!").strip(b" \t").split(b" ")[0])
    if error.errno == errno.ENOENT and first.startswith(b"#!") and not os.path.exists(interpreter):
        hint = "; the script has line ends of Windows" if interpreter.endswith("\r") else ""
        return CannotStart(f"{name} cannot be started: its interpreter {interpreter!r} does not exist{hint}")
    return CannotStart(f"{name} cannot be started: {error.strerror}.", 126)


def _start_of(program: str) -> bytes:
    try:
        with open(program, "rb") as file:
            return file.read(256)
    except OSError:
        return b""
