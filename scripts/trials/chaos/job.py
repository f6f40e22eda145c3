"""The tasks of scripts/chaos: they record that they run, and misbehave as requested.

As a program: `job.py JOURNAL WISHES` (JSON). As a callable: `job:call` with the same two arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time

Wishes = dict[str, float]


def note(journal: str, what: str) -> None:
    """Append one line in one write: the task, its claim, and the process with its start time."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    facts = {
        "what": what,
        "at": time.monotonic(),
        "id": os.environ["BACKBURNER_TASK_ID"],
        "attempt": int(os.environ["BACKBURNER_ATTEMPT"]),
        "claim": int(os.environ["BACKBURNER_CLAIM"]),
        "group": os.environ["TRIAL_GROUP"],
        "pid": os.getpid(),
        "ticks": int(stat[stat.rindex(b")") + 2 :].split()[19]),
    }
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\n")
    os.close(descriptor)


def daemonise(seconds: float) -> None:
    """Leave an orphan in its own session."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(seconds)
    os._exit(0)


def work(journal: str, wishes: Wishes) -> int:
    """Run as a task, and return its exit code."""
    note(journal, "start")
    for _ in range(int(wishes.get("daemons", 0))):
        daemonise(wishes.get("daemon_s", 60.0))
    time.sleep(wishes.get("hold_s", 0.0))
    failed = int(os.environ["BACKBURNER_ATTEMPT"]) <= wishes.get("fails", 0)
    note(journal, "failing" if failed else "end")
    return 3 if failed else 0


def call(journal: str, wishes: Wishes) -> int:
    """Run as a task in a runner, and return the claim."""
    if work(journal, wishes):
        raise ValueError("failed as requested")
    return int(os.environ["BACKBURNER_CLAIM"])


if __name__ == "__main__":
    code = work(sys.argv[1], json.loads(sys.argv[2]))
    print(os.environ["BACKBURNER_CLAIM"])
    sys.exit(code)
