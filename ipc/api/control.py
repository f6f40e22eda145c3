"""Starting and stopping the supervisor of a home, from any process."""

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
from ..config.environment import of_nobody
from ..errors import AlreadyRunning, BackburnerError, Disconnected, InvalidInput, NoSupervisor, Permanent, Temporary
from ..failpoints import failpoint
from ..home import Home
from ..machine.identity import Identity
from ..machine.presence import Presence
from ..store import refuse_older_processes

#: The environment variable with the settings that win over all files: JSON of a part of the configuration.
OVERRIDES = "BACKBURNER_OVERRIDES"

#: Seconds a supervisor may take until its bus answers, and between two looks whether it does.
START_PATIENCE, START_NAP = 30.0, 0.02
#: Seconds that a bus may take to answer a ping before it is asked again: it may have been stopped.
SILENCE = 1.0

#: Seconds a flusher may take to follow its supervisor.
FAREWELL_PATIENCE = 10.0

#: Runs the command line of this very package, whose folder comes last on the path: it hides no other module.
_BOOTSTRAP = """\
import sys
root = {root!r}
if root not in sys.path:
    sys.path.append(root)
from backburner.supervisor.cli import main
sys.exit(main())
"""

#: Starts a program and leaves, so that it is nobody's child; asked to stay, it tells how the program ended.
_USHER = """\
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

#: What a line of the log looks like; a command's last words look otherwise.
_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT")

_ERRORS: Mapping[int, type[BackburnerError]] = {
    error.exit_code: error for error in (InvalidInput, Permanent, Temporary)
}


#: The command that settles what dead workers had; for our own processes.
RESCUE = "_rescue"


def program(*arguments: str) -> list[str]:
    """The command that runs this package's command line from anywhere, installed or not."""
    root = str(Path(__file__).parents[3])
    return [sys.executable, "-P", "-c", _BOOTSTRAP.format(root=root), *arguments]


def start(home: Home, overrides: Mapping[str, object] | None = None) -> None:
    """Start a supervisor that has nothing of the caller's but its folder; return when its bus answers.

    `overrides` are settings, named as in the files, that win over them. Raises AlreadyRunning, BadHome,
    what the supervisor itself raised (BadConfiguration comes as Permanent), and Temporary where it takes
    longer than 30 seconds.
    """
    home.prepare()
    _refuse_second(home)
    told = _size(home.log)
    with _usher(home, overrides) as usher:
        pid = _read_number(usher)
        with _watched(pid) as descriptor:
            if not _wait_for_answer(home, pid, descriptor):
                raise _failure(home, _exit_code(usher), told)


def stop(home: Home, now: bool = False, requeue: bool = False) -> None:
    """Have the supervisor stop; return when it and its flusher are gone.

    It waits up to `shutdown_grace_s` for running tasks and leaves the rest to their workers; with `now` it
    ends their trees, with `requeue` so that they are pending again. Raises NoSupervisor, and Temporary where
    the flusher does not follow. With no supervisor, what a killed one left behind is dismissed before that is said.
    """
    pid = Presence(home).holder("supervisor")
    if pid is None:
        _dismiss(home)
        raise NoSupervisor(f"No supervisor is running for {home.folder}.")
    words = ["down", *(["now"] if now or requeue else []), *(["requeue"] if requeue else [])]
    _command(home, pid, " ".join(words))
    _follow(home, "flusher")


def _dismiss(home: Home) -> None:
    """What a killed supervisor left serving: the flusher leaves, and the fork server when its last worker has."""
    for role in ("flusher", "forkserver"):
        process = Presence(home).process(role)
        if process is not None:
            process.signal(signal.SIGTERM)
    _follow(home, "flusher")


def restart(home: Home) -> None:
    """Have the supervisor become a new one, of this program, while its tasks run on; return when its bus answers.

    Nothing is refused meanwhile: launches are accepted, subscribers reconnect. Raises NoSupervisor; OlderProcesses;
    Permanent, with the error of a successor that did not come up; Temporary where it takes longer than 30 seconds.
    """
    presence, told = Presence(home), _size(home.log)
    pid, flusher = presence.holder("supervisor"), presence.holder("flusher")
    if pid is None:
        raise NoSupervisor(f"No supervisor is running for {home.folder}.")
    refuse_older_processes(home)
    home.wake("supervisor", f"restart {json.dumps(program('--home', str(home.folder), 'up'))}")
    until = clock.monotonic() + START_PATIENCE
    with _watched(pid) as descriptor:
        while presence.holder("supervisor") != pid or _server(home) in (None, flusher):
            if _ended(pid, descriptor, START_NAP):
                raise _failure(home, Permanent.exit_code, told)
            if clock.monotonic() >= until:
                raise Temporary(f"The supervisor {pid} of {home.folder} did not restart yet; see {home.log}.")


def _server(home: Home) -> int | None:
    """The process that answers on the bus, if any does."""
    with Client(home, silence=SILENCE) as client:
        try:
            return int(client.call("ping")["pid"])
        except (NoSupervisor, Disconnected):
            return None


def rescue(home: Home) -> None:
    """Settle what dead workers had, where no supervisor lives to do it: by a process of its own. Raises Temporary."""
    command = program(RESCUE, str(home.folder))
    with failpoint("caller.start"):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=_environment(home, None)
        )
    if done.returncode:
        words = _last_words(done.stderr.decode(errors="replace"))
        raise Temporary(f"The tasks of dead workers in {home.folder} were not settled: {words}")


def _refuse_second(home: Home) -> None:
    pid = Presence(home).holder("supervisor")
    if pid is not None:
        refuse_older_processes(home)
        raise AlreadyRunning(f"A supervisor already runs for {home.folder} (pid {pid}).")


def _usher(home: Home, overrides: Mapping[str, object] | None) -> subprocess.Popen[bytes]:
    command = program("--home", str(home.folder), "up")
    with failpoint("usher.start"):
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _USHER, str(home.log), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(home, overrides),
            start_new_session=True,
        )


def _environment(home: Home, overrides: Mapping[str, object] | None) -> dict[str, str]:
    """The caller's, without what would make the supervisor take itself for a part of a task."""
    said = {} if overrides is None else {OVERRIDES: json.dumps(overrides)}
    return {**of_nobody(os.environ), "BACKBURNER_HOME": str(home.folder), **said}


def _read_number(usher: subprocess.Popen[bytes]) -> int:
    assert usher.stdout is not None, "it is a pipe"
    line = usher.stdout.readline()
    if not line:
        raise Temporary(f"{sys.executable} could not be started.")
    return int(line)


def _exit_code(usher: subprocess.Popen[bytes]) -> int:
    assert usher.stdin is not None, "it is a pipe"
    usher.stdin.write(b"\n")
    usher.stdin.flush()
    return _read_number(usher)


def _wait_for_answer(home: Home, pid: int, descriptor: int | None) -> bool:
    """Whether the bus came to answer; False where the supervisor ended before."""
    presence, until = Presence(home), clock.monotonic() + START_PATIENCE
    while not (presence.holder("supervisor") == pid and _answers(home)):
        if _ended(pid, descriptor, START_NAP):
            return False
        if clock.monotonic() >= until:
            raise Temporary(f"The supervisor {pid} of {home.folder} does not answer yet; see {home.log}.")
    return True


def _answers(home: Home) -> bool:
    with Client(home, silence=SILENCE) as client:
        try:
            client.call("ping")
        except (NoSupervisor, Disconnected):
            return False
    return True


def _failure(home: Home, code: int, told: int) -> BackburnerError:
    """What a supervisor that did not come up had to say."""
    _refuse_second(home)
    with home.log.open("rb") as log:
        log.seek(told)
        words = _last_words(log.read().decode(errors="replace"))
    return _ERRORS.get(code, Permanent)(words or f"The supervisor did not come up (exit code {code}).")


def _last_words(text: str) -> str:
    """What follows the last line that a role logged, without the program's name."""
    lines = text.strip().splitlines()
    logged = [place for place, line in enumerate(lines) if _LOGGED.match(line)]
    words = lines[logged[-1] + 1 if logged else 0 :]
    if words and words[0].startswith("Traceback"):
        words = words[-1:]
    return "\n".join(words).removeprefix("backburner: ")


def _command(home: Home, pid: int, line: str) -> None:
    """Give the supervisor a command, as soon as it listens, and wait until it is gone."""
    presence, backoff = Presence(home), Backoff()
    with _watched(pid) as descriptor:
        while presence.holder("supervisor") == pid:
            if home.wake("supervisor", line):
                _wait_for_end(pid, descriptor, None)
                return
            _ended(pid, descriptor, backoff.next_delay())


def _follow(home: Home, role: str) -> None:
    """Wait until a role has ended that ends with the supervisor."""
    presence = Presence(home)
    pid = presence.holder(role)
    if pid is None:
        return
    with _watched(pid) as descriptor:
        if presence.holder(role) == pid and not _wait_for_end(pid, descriptor, FAREWELL_PATIENCE):
            raise Temporary(f"The {role} {pid} of {home.folder} did not end in {FAREWELL_PATIENCE:g} s.")


def _wait_for_end(pid: int, descriptor: int | None, patience: float | None) -> bool:
    """Whether a process ends within so many seconds (None: however long it takes)."""
    if descriptor is not None:
        return _ended(pid, descriptor, patience)
    until, backoff = clock.monotonic() + (patience or float("inf")), Backoff()
    while not _ended(pid, None, backoff.next_delay()):
        if clock.monotonic() >= until:
            return False
    return True


@contextmanager
def _watched(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends, where the system has such a thing."""
    identity = Identity.of(pid)
    descriptor = None if identity is None else identity.open()
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _ended(pid: int, descriptor: int | None, seconds: float | None) -> bool:
    """Whether a process ends within so many seconds; without a descriptor, after them."""
    if descriptor is None:
        clock.nap(seconds or 0)
        return Identity.of(pid) is None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
