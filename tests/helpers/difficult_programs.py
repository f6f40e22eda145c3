"""Programs that are difficult to end, or whose outcome is difficult to determine.

As a program (`python -S difficult_programs.py NAME FILE KIND`) it runs the function NAME; its processes append their
pids to FILE. Of the kind `stays` it runs until it is ended; of the kind `leaves` it exits by itself, whatever it
leaves behind. A test takes the command from `difficult_program`, and the number of pids from `PROCESS_COUNTS`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

#: The number of processes that record their pids.
PROCESS_COUNTS = {
    "stubborn": 2,
    "daemon": 2,
    "talker": 2,
    "breeder": 1,
    "polite": 2,
    "reader": 1,
    "flooder": 1,
    "stopped": 2,
    "disguised": 2,
    "pipeline": 3,
    "orphans": 3,
}

#: The generations after which a breeder stops by itself, if the supervisor was not fast enough.
GENERATIONS = 3000

_STAYS = "one that stays"


def difficult_program(name: str, file: Path, kind: str = "stays") -> tuple[str, ...]:
    """Return the command of a program."""
    return (sys.executable, "-S", os.path.abspath(__file__), name, str(file), kind)


def stubborn() -> None:
    """Ignore SIGTERM, like its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child(stay)
    lead()


def daemon() -> None:
    """Fork twice, into a separate session."""
    child(os.setsid, lambda: child(stay))
    lead()


def talker() -> None:
    """Leave stdout and stderr open in a child."""
    child(stay)
    lead()


def breeder() -> None:
    """Fork for generations, each in a separate session, so that every list of its processes is outdated."""
    child(generations)
    lead()


def polite() -> None:
    """Exit with code 0 on SIGTERM, like its child."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    child(stay)
    lead()


def reader() -> None:
    """Read stdin to its end first."""
    sys.stdin.read()
    lead()


def flooder() -> None:
    """Write as fast as possible."""
    record_pid()
    for _ in range(100) if leaves() else iter(int, 1):
        os.write(2, b"all work and no play " * 3000)
    print_well()


def stopped() -> None:
    """Stop itself, like its child."""
    child(record_pid, stop)
    if not leaves():
        record_pid()
        stop()
    lead()


def disguised() -> None:
    """Start a daemon with another title and without an environment by which it could be recognised."""
    disguise = [_STAYS, "-S", *sys.orig_argv[2:3], _STAYS, *sys.argv[2:]]
    child(os.setsid, lambda: child(lambda: os.execve(sys.executable, disguise, {})))
    lead()


def pipeline() -> None:
    """Run as a pipeline of a shell."""
    part = "sh -c 'echo $$ >> {0}; exec {1}'"
    first = "echo well" if leaves() else "sleep 600"
    script = " | ".join(part.format(sys.argv[2], what) for what in (first, "cat", "cat"))
    os.execv("/bin/sh", ["sh", "-c", script])


def orphans() -> None:
    """Die of a signal before its children."""
    child(stay)
    child(os.setsid, stay)
    if not leaves():
        stay()
    gather()
    os.kill(os.getpid(), signal.SIGABRT)


def leaves() -> bool:
    """Return True if the program is to exit by itself."""
    return sys.argv[3] == "leaves"


def record_pid() -> None:
    """Record the pid in one write."""
    descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.close(descriptor)


def stay() -> None:
    """Record the pid, and run until the process is ended."""
    record_pid()
    while True:
        signal.pause()


def stop() -> None:
    """Stop until SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def child(*steps: Callable[[], object]) -> None:
    """Fork a child that runs these functions and exits."""
    if os.fork() == 0:
        for step in steps:
            step()
        os._exit(0)


def generations() -> None:
    """Fork a child that does the same, and exit."""
    for _ in range(GENERATIONS):
        os.setsid()
        if os.fork():
            os._exit(0)
    signal.pause()


def gather() -> None:
    """Record the pid after all other processes have."""
    while recorded_pids() < PROCESS_COUNTS[sys.argv[1]] - 1:
        select.select([], [], [], 0.002)
    record_pid()


def recorded_pids() -> int:
    """Return the number of recorded pids."""
    return Path(sys.argv[2]).read_bytes().count(b"\n") if Path(sys.argv[2]).exists() else 0


def print_well() -> None:
    """Print the output of a program that exits by itself."""
    os.write(1, b"well\n")


def lead() -> None:
    """Run as the first process, once its children are forked."""
    if not leaves():
        stay()
    gather()
    print_well()


if __name__ == "__main__":
    (stay if sys.argv[1] == _STAYS else globals()[sys.argv[1]])()
