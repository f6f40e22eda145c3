"""What the crash matrix runs as tasks: `crash_job.py KIND EFFECTS GO`; each try writes a line and knows if it is alone.

One slot is one lock, which the kernel drops only when the last process of a try is gone.
"""

import fcntl
import os
import signal
import sys
import threading
import time


def begin(effects: str) -> int:
    """Write down that this try does something; the descriptor of its slot."""
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
    """The same as a callable."""
    os.close(begin(effects))
    return "done"


def fail(effects: str) -> str:
    """Raise an error, as a callable."""
    work(effects)
    raise RuntimeError("as asked for")


def flake(effects: str) -> str:
    """Raise an error in the first attempt, as a callable."""
    return work(effects) if os.environ["BACKBURNER_ATTEMPT"] != "1" else fail(effects)


def shout(effects: str) -> str:
    """Print more than a journal takes, as a callable."""
    print("x" * 100_000)
    return work(effects)


def hold(effects: str, go: str) -> str:
    """Return once a file is there, as a callable."""
    slot = begin(effects)
    wait_for(go)
    os.close(slot)
    return "done"


def linger(effects: str) -> str:
    """Leave a thread behind, as a callable: its runner takes no further call."""
    threading.Thread(target=stay_quietly, daemon=True).start()
    return work(effects)


def stay_quietly() -> None:
    """Do nothing until the process ends."""
    threading.Event().wait()


def stay() -> None:
    """Until somebody ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def child() -> None:
    """A descendant in a session of its own, which does not leave when asked."""
    if os.fork() == 0:
        os.setsid()
        stay()


def wait_for(go: str) -> None:
    """Until a file is there."""
    end = time.monotonic() + 30
    while not os.path.exists(go) and time.monotonic() < end:
        time.sleep(0.005)


def main() -> int:
    """Do what the kind says."""
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
