"""Programs that are hard to end, or to judge.

As a program (`python -S zoo.py ANIMAL FILE KIND`): be that animal. Its processes write their numbers into the file.
An animal that `stays` runs until it is ended; one that `leaves` ends by itself, whatever it leaves behind.
In a test: `animal` is its command, `HERD` says how many of its processes write their number down.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

#: How many of an animal's processes write their number down.
HERD = {
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

#: A breeder stops by itself after so many generations, if nobody was fast enough.
GENERATIONS = 3000

_STAYS = "one that stays"


def animal(name: str, file: Path, kind: str = "stays") -> tuple[str, ...]:
    """The command of an animal."""
    return (sys.executable, "-S", os.path.abspath(__file__), name, str(file), kind)


def stubborn() -> None:
    """It ignores SIGTERM, and so does its child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child(stay)
    lead()


def daemon() -> None:
    """It forks twice, into a session of its own."""
    child(os.setsid, lambda: child(stay))
    lead()


def talker() -> None:
    """Its child has stdout and stderr, and keeps them open."""
    child(stay)
    lead()


def breeder() -> None:
    """It forks, and so does its child, and so on, each in a session of its own: whoever lists them is too late."""
    child(generations)
    lead()


def polite() -> None:
    """It ends with exit code 0 when it is told to end, and so does its child."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    child(stay)
    lead()


def reader() -> None:
    """It reads stdin to its end before it does anything."""
    sys.stdin.read()
    lead()


def flooder() -> None:
    """It writes as fast as it can."""
    note()
    for _ in range(100) if leaves() else iter(int, 1):
        os.write(2, b"all work and no play " * 3000)
    say_well()


def stopped() -> None:
    """It stops itself, and its child does."""
    child(note, stop)
    if not leaves():
        note()
        stop()
    lead()


def disguised() -> None:
    """Its daemon has another title, and no environment by which it could be known."""
    disguise = [_STAYS, "-S", *sys.orig_argv[2:3], _STAYS, *sys.argv[2:]]
    child(os.setsid, lambda: child(lambda: os.execve(sys.executable, disguise, {})))
    lead()


def pipeline() -> None:
    """It is a shell's pipeline."""
    part = "sh -c 'echo $$ >> {0}; exec {1}'"
    first = "echo well" if leaves() else "sleep 600"
    script = " | ".join(part.format(sys.argv[2], what) for what in (first, "cat", "cat"))
    os.execv("/bin/sh", ["sh", "-c", script])


def orphans() -> None:
    """It dies of a signal, before its children."""
    child(stay)
    child(os.setsid, stay)
    if not leaves():
        stay()
    gather()
    os.kill(os.getpid(), signal.SIGABRT)


def leaves() -> bool:
    """Whether it is to end by itself."""
    return sys.argv[3] == "leaves"


def note() -> None:
    """Write one's number down, in one piece."""
    descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.close(descriptor)


def stay() -> None:
    """Run until one is ended."""
    note()
    while True:
        signal.pause()


def stop() -> None:
    """Stop, until one is continued."""
    os.kill(os.getpid(), signal.SIGSTOP)


def child(*life: Callable[[], object]) -> None:
    """Have a child that does all that, and then dies."""
    if os.fork() == 0:
        for deed in life:
            deed()
        os._exit(0)


def generations() -> None:
    """Have a child that lives as one does, and die."""
    for _ in range(GENERATIONS):
        os.setsid()
        if os.fork():
            os._exit(0)
    signal.pause()


def gather() -> None:
    """Note oneself as the last one."""
    while numbers_noted() < HERD[sys.argv[1]] - 1:
        select.select([], [], [], 0.002)
    note()


def numbers_noted() -> int:
    """How many have written their numbers down."""
    return Path(sys.argv[2]).read_bytes().count(b"\n") if Path(sys.argv[2]).exists() else 0


def say_well() -> None:
    """The last word of one that ends by itself."""
    os.write(1, b"well\n")


def lead() -> None:
    """The life of the one that was started, once its children are on their way."""
    if not leaves():
        stay()
    gather()
    say_well()


if __name__ == "__main__":
    (stay if sys.argv[1] == _STAYS else globals()[sys.argv[1]])()
