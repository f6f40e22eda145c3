"""What the tasks of scripts/chaos do: keep a journal of having been run, and misbehave as they are told.

As a program: chaos_job.py JOURNAL WISHES (JSON). As a callable: chaos_job:call with the same two arguments.
"""

from __future__ import annotations

import json
import os
import sys
import time

Wishes = dict[str, float]


def note(journal: str, what: str) -> None:
    """One line, in one write: who runs here, under which claim, since when."""
    with open("/proc/self/stat", "rb") as file:
        stat = file.read()
    facts = {
        "what": what,
        "at": time.monotonic(),
        "id": os.environ["BACKBURNER_TASK_ID"],
        "attempt": int(os.environ["BACKBURNER_ATTEMPT"]),
        "claim": int(os.environ["BACKBURNER_CLAIM"]),
        "group": os.environ["SIEGE_GROUP"],
        "pid": os.getpid(),
        "ticks": int(stat[stat.rindex(b")") + 2 :].split()[19]),
    }
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, json.dumps(facts).encode() + b"\n")
    os.close(descriptor)


def daemonise(seconds: float) -> None:
    """Leave a process in a session of its own, whose parent is gone."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(seconds)
    os._exit(0)


def work(journal: str, wishes: Wishes) -> int:
    """Be a task; whether it went well (0)."""
    note(journal, "start")
    for _ in range(int(wishes.get("daemons", 0))):
        daemonise(wishes.get("daemon_s", 60.0))
    time.sleep(wishes.get("hold_s", 0.0))
    failed = int(os.environ["BACKBURNER_ATTEMPT"]) <= wishes.get("fails", 0)
    note(journal, "failing" if failed else "end")
    return 3 if failed else 0


def call(journal: str, wishes: Wishes) -> int:
    """The same, in a runner: the claim as the result."""
    if work(journal, wishes):
        raise ValueError("as it was told")
    return int(os.environ["BACKBURNER_CLAIM"])


if __name__ == "__main__":
    code = work(sys.argv[1], json.loads(sys.argv[2]))
    print(os.environ["BACKBURNER_CLAIM"])
    sys.exit(code)
