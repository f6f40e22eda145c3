"""Start, stop and restart the supervisor of a state directory, from any process."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .. import clock
from ..backoff import Backoff
from ..bus.client import Client
from ..config.environment import without_our_variables
from ..errors import AlreadyRunning, BackburnerError, Disconnected, InvalidInput, NoSupervisor, Permanent, Temporary
from ..failpoints import failpoint
from ..home import Home
from ..machine.identity import Identity
from ..machine.presence import ROLES, Presence
from ..machine.shortage import is_shortage
from ..store import refuse_older_processes

#: The environment variable with the settings that override all files, as a JSON object.
OVERRIDES = "BACKBURNER_OVERRIDES"

#: The maximum seconds until the bus of a new supervisor answers, and the seconds between two checks.
START_TIMEOUT, START_POLL = 30.0, 0.02
#: Seconds to wait for the answer to a ping. If there is none, the process may be stopped, and another ping follows.
PING_TIMEOUT = 1.0
#: Seconds that a flusher may take to exit after its supervisor.
FLUSHER_EXIT_TIMEOUT = 10.0

#: Seconds that a process may take to exit after its home was moved.
MOVED_EXIT_TIMEOUT = 3.0

#: Runs the command line of this package. Its folder comes last on the path, so that it hides no other module.
_BOOTSTRAP = """\
import sys
root = {root!r}
if root not in sys.path:
    sys.path.append(root)
from backburner.supervisor.cli import main
sys.exit(main())
"""

#: Starts a program and exits, so that the program is not a child of the caller. It prints the program's PID. If it
#: gets a line on stdin, it waits for the program and prints the exit code.
_DETACH_HELPER = """\
import os, sys
log, *command = sys.argv[1:]
files = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
    (os.POSIX_SPAWN_DUP2, 1, 2),
]
pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
print(pid, flush=True)
if sys.stdin.readline():
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

#: The start of a log line. The error message with which a command exits does not start like this.
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT")

_ERROR_CLASSES: Mapping[int, type[BackburnerError]] = {
    error.exit_code: error for error in (InvalidInput, Permanent, Temporary)
}

#: The hidden command that rescues the tasks of dead workers.
RESCUE = "_rescue"


def program(*arguments: str) -> list[str]:
    """Return the command that runs this package's command line from any folder, installed or not.

    Tasks have text of any language, so paths, arguments and variables are UTF-8 there, whatever the locale is.
    """
    root = str(Path(__file__).parents[3])
    return [sys.executable, "-P", "-X", "utf8", "-c", _BOOTSTRAP.format(root=root), *arguments]


def start(home: Home, overrides: Mapping[str, object] | None = None) -> None:
    """Start a detached supervisor in the caller's folder. Return when its bus answers.

    `overrides` are settings that override the files and have the same names.

    Raises:
        AlreadyRunning: A supervisor is running.
        BadHome: The home cannot be used.
        Temporary: The start takes longer than 30 seconds.
        BackburnerError: The supervisor exited with an error. A BadConfiguration is raised as Permanent.
    """
    home.prepare()
    end_moved_roles(home)
    _refuse_second(home)
    log_size = _file_size(home.log)
    with _start_detached(home, overrides) as helper:
        pid = _read_number(helper)
        with _exit_descriptor(pid) as descriptor:
            if not _wait_for_bus(home, pid, descriptor):
                raise _start_error(home, _exit_code(helper), log_size)


def stop(home: Home, now: bool = False, requeue: bool = False) -> None:
    """Stop the supervisor. Return when it and its flusher have exited.

    The supervisor waits up to `shutdown_grace_s` for running tasks, and leaves the remaining tasks to their workers.
    With `now`, it ends their process trees. With `requeue`, it also makes them pending again.

    Raises:
        NoSupervisor: No supervisor is running. The roles that a killed supervisor left behind have been stopped.
        Temporary: The flusher does not exit.
    """
    if end_moved_roles(home):
        if not now:
            return
        start(home)  # only a supervisor that knows the new path can end the tasks
    pid = Presence(home).holder("supervisor")
    if pid is None:
        _stop_leftover_roles(home)
        raise NoSupervisor(f"No supervisor is running for {home.folder}.")
    order = ["down", *(["now"] if now or requeue else []), *(["requeue"] if requeue else [])]
    _send_until_exit(home, pid, " ".join(order))
    _wait_for_flusher(home)


def end_moved_roles(home: Home) -> bool:
    """End the processes that still use the path from which a home was moved. Return True if there were any.

    They cannot reach the database. Workers finish their tasks, and the fork server then exits. Its lock is renamed, as
    after a restart, so that the next supervisor starts another one.
    """
    presence = Presence(home)
    moved = [role for role in ROLES if presence.moved_from(role) is not None]
    for role in moved:
        process = presence.process(role)
        if process is None:  # it has exited, or is in another PID namespace
            continue
        if role == "forkserver":
            with failpoint("moved.retire.unlink"):
                (home.folder / "fork_server.sock").unlink(missing_ok=True)
            with failpoint("moved.retire.rename"):
                home.lock(role).rename(home.lock(f"{role}-{process.pid}"))
        _end(process, None if role == "forkserver" else MOVED_EXIT_TIMEOUT)
    return bool(moved)


def _end(process: Identity, timeout: float | None) -> None:
    """Send SIGTERM to a process. With a timeout, wait for its exit, then send SIGKILL."""
    with _exit_descriptor(process.pid) as descriptor:
        if process.signal(signal.SIGTERM) and timeout and not _wait_for_exit(process.pid, descriptor, timeout):
            process.signal(signal.SIGKILL)
            _wait_for_exit(process.pid, descriptor, None)


def _stop_leftover_roles(home: Home) -> None:
    """Stop the flusher and the fork server of a killed supervisor. The fork server exits after its last worker."""
    for role in ("flusher", "forkserver"):
        process = Presence(home).process(role)
        if process is not None:
            process.signal(signal.SIGTERM)
    _wait_for_flusher(home)


def restart(home: Home) -> None:
    """Replace the supervisor by a new supervisor of this program while its tasks run. Return when its bus answers.

    Launches are accepted during the restart, and subscribers reconnect.

    Raises:
        NoSupervisor: No supervisor is running.
        OlderProcesses: Processes of an older version use the home.
        Permanent: The new supervisor could not start.
        Temporary: The restart takes longer than 30 seconds.
    """
    presence, log_size = Presence(home), _file_size(home.log)
    pid, flusher = presence.holder("supervisor"), presence.holder("flusher")
    if pid is None:
        raise NoSupervisor(f"No supervisor is running for {home.folder}.")
    refuse_older_processes(home)
    home.wake("supervisor", f"restart {json.dumps(program('--home', str(home.folder), 'up'))}")
    until = clock.monotonic() + START_TIMEOUT
    with _exit_descriptor(pid) as descriptor:
        while presence.holder("supervisor") != pid or _bus_process(home) in (None, flusher):
            if _has_exited(pid, descriptor, START_POLL):
                raise _start_error(home, Permanent.exit_code, log_size)
            if clock.monotonic() >= until:
                raise Temporary(f"The supervisor {pid} of {home.folder} did not restart yet; see {home.log}.")


def rescue(home: Home) -> None:
    """Settle the tasks of dead workers in a separate process, while no supervisor runs. Raises Temporary."""
    command = program(RESCUE, str(home.folder))
    with failpoint("caller.start"):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=_environment(home, None)
        )
    if done.returncode:
        reason = _error_from_log(done.stderr.decode(errors="replace"))
        raise Temporary(f"The tasks of dead workers in {home.folder} were not settled: {reason}")


def _refuse_second(home: Home) -> None:
    pid = Presence(home).holder("supervisor")
    if pid is not None:
        refuse_older_processes(home)
        raise AlreadyRunning(f"A supervisor already runs for {home.folder} (pid {pid}).")


def _start_detached(home: Home, overrides: Mapping[str, object] | None) -> subprocess.Popen[bytes]:
    command = program("--home", str(home.folder), "up")
    try:
        with failpoint("usher.start"):
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DETACH_HELPER, str(home.log), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(home, overrides),
                start_new_session=True,
            )
    except OSError as error:
        if not is_shortage(error):
            raise
        raise Temporary(f"No process can be started now: {error.strerror}.") from error


def _environment(home: Home, overrides: Mapping[str, object] | None) -> dict[str, str]:
    """Return the caller's environment without the variables that would make the supervisor part of a task."""
    variables = {} if overrides is None else {OVERRIDES: json.dumps(overrides)}
    return {**without_our_variables(os.environ), "BACKBURNER_HOME": str(home.folder), **variables}


def _read_number(helper: subprocess.Popen[bytes]) -> int:
    assert helper.stdout is not None, "it is a pipe"
    line = helper.stdout.readline()
    if not line:
        raise Temporary(f"{sys.executable} could not be started.")
    return int(line)


def _exit_code(helper: subprocess.Popen[bytes]) -> int:
    assert helper.stdin is not None, "it is a pipe"
    helper.stdin.write(b"\n")
    helper.stdin.flush()
    return _read_number(helper)


def _wait_for_bus(home: Home, pid: int, descriptor: int | None) -> bool:
    """Return True when the bus answers, or False if the supervisor exits before that. Raises Temporary."""
    presence, until = Presence(home), clock.monotonic() + START_TIMEOUT
    while not (presence.holder("supervisor") == pid and _bus_process(home) is not None):
        if _has_exited(pid, descriptor, START_POLL):
            return False
        if clock.monotonic() >= until:
            raise Temporary(f"The supervisor {pid} of {home.folder} does not answer yet; see {home.log}.")
    return True


def _bus_process(home: Home) -> int | None:
    """Return the PID of the process that answers on the bus, or None."""
    with Client(home, read_timeout=PING_TIMEOUT) as client:
        try:
            return int(client.call("ping")["pid"])
        except (NoSupervisor, Disconnected):
            return None


def _start_error(home: Home, code: int, log_size: int) -> BackburnerError:
    """Return the error of a supervisor that could not start. Raises AlreadyRunning if another one was faster."""
    _refuse_second(home)
    with home.log.open("rb") as log:
        log.seek(log_size)
        reason = _error_from_log(log.read().decode(errors="replace"))
    return _ERROR_CLASSES.get(code, Permanent)(reason or f"The supervisor did not come up (exit code {code}).")


def _error_from_log(text: str) -> str:
    """Return the text after the last log line, without the program's name. Of a traceback, return the last line."""
    lines = text.strip().splitlines()
    logged = [index for index, line in enumerate(lines) if _LOG_LINE.match(line)]
    message = lines[logged[-1] + 1 if logged else 0 :]
    if message and message[0].startswith("Traceback"):
        message = message[-1:]
    return "\n".join(message).removeprefix("backburner: ")


def _send_until_exit(home: Home, pid: int, line: str) -> None:
    """Send a command to the supervisor as soon as it listens, and wait until it has exited."""
    presence, backoff = Presence(home), Backoff()
    with _exit_descriptor(pid) as descriptor:
        while presence.holder("supervisor") == pid:
            if home.wake("supervisor", line):
                _wait_for_exit(pid, descriptor, None)
                return
            _has_exited(pid, descriptor, backoff.next_delay())


def _wait_for_flusher(home: Home) -> None:
    """Wait until the flusher has exited. Raises Temporary."""
    presence = Presence(home)
    pid = presence.holder("flusher")
    if pid is None:
        return
    with _exit_descriptor(pid) as descriptor:
        if presence.holder("flusher") == pid and not _wait_for_exit(pid, descriptor, FLUSHER_EXIT_TIMEOUT):
            raise Temporary(f"The flusher {pid} of {home.folder} did not end in {FLUSHER_EXIT_TIMEOUT:g} s.")


def _wait_for_exit(pid: int, descriptor: int | None, timeout: float | None) -> bool:
    """Return True when a process has exited, or False after `timeout` seconds."""
    if descriptor is not None:
        return _has_exited(pid, descriptor, timeout)
    until, backoff = clock.monotonic() + (timeout or float("inf")), Backoff()
    while not _has_exited(pid, None, backoff.next_delay()):
        if clock.monotonic() >= until:
            return False
    return True


@contextmanager
def _exit_descriptor(pid: int) -> Iterator[int | None]:
    """Open a descriptor that becomes readable when the process exits, or yield None on systems without pidfds."""
    identity = Identity.of(pid)
    descriptor = None if identity is None else identity.open()
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _has_exited(pid: int, descriptor: int | None, seconds: float | None) -> bool:
    """Return True if the process exits within some seconds. Without a descriptor, always wait that long."""
    if descriptor is None:
        clock.nap(seconds or 0)
        return Identity.of(pid) is None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
