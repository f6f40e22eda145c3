"""The tasks of the crash matrix, as a program (`job.py KIND EFFECTS GO`) and as callables.

Each attempt records whether it is alone in its slot: a slot is a lock, which the kernel drops only
when the last process of an attempt is gone.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time


def begin(effects: str) -> int:
    """Record that this attempt runs, and return the descriptor of its slot."""
    names = ("BACKBURNER_TASK_ID", "BACKBURNER_ATTEMPT", "BACKBURNER_CLAIM")
    slot = os.open(f"{effects}.{os.environ.get('CRASH_SLOT', 'slot')}", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        word = "alone"
    except BlockingIOError:
        word = "CROWDED"
    with open(effects, "a") as file:
        file.write(" ".join([*(os.environ[name] for name in names), word]) + "\n")
    return slot


def work(effects: str) -> str:
    """Record that this attempt runs."""
    os.close(begin(effects))
    return "done"


def fail(effects: str) -> str:
    """Raise an error."""
    work(effects)
    raise RuntimeError("failed as requested")


def flake(effects: str) -> str:
    """Raise an error in the first attempt."""
    return work(effects) if os.environ["BACKBURNER_ATTEMPT"] != "1" else fail(effects)


def shout(effects: str) -> str:
    """Print more than fits into a journal."""
    print("x" * 100_000)
    return work(effects)


def hold(effects: str, go: str) -> str:
    """Return once a file exists."""
    slot = begin(effects)
    wait_for(go)
    os.close(slot)
    return "done"


def linger(effects: str) -> str:
    """Leave a thread running, so that the runner takes no further call."""
    threading.Thread(target=stay_quietly, daemon=True).start()
    return work(effects)


def stay_quietly() -> None:
    """Do nothing until the process ends."""
    threading.Event().wait()


def stay() -> None:
    """Run until the process is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def child() -> None:
    """Start a descendant in its own session that ignores SIGTERM."""
    if os.fork() == 0:
        os.setsid()
        stay()


def wait_for(go: str) -> None:
    """Wait until a file exists, at most 30 seconds."""
    end = time.monotonic() + 30
    while not os.path.exists(go) and time.monotonic() < end:
        time.sleep(0.005)


def main() -> int:
    """Run as a command of the given kind, and return the exit code."""
    kind, effects, go = sys.argv[1:]
    begin(effects)
    if kind == "tree":
        child()
        stay()
    if kind == "leaves":
        child()
    if kind == "holds":
        wait_for(go)
    print("done")
    return 3 if kind == "fails" or (kind == "flaky" and os.environ["BACKBURNER_ATTEMPT"] == "1") else 0


if __name__ == "__main__":
    sys.exit(main())
