"""What becomes of tasks whose owner died: bury the tree, then settle. Rescue rests on proof of death, never on age."""

from __future__ import annotations

import os

from ipc.claim import Settlement
from ipc.database import Database
from ipc.home import Home
from ipc.lock import Lock
from ipc.queue import Queue
from ipc.registry import Registry, Running
from ipc.settings import applied_configuration
from supervisor.execution.outcome import Outcome, Try, interrupted, settlement_of
from supervisor.execution.trees import kill_all, marked
from supervisor.messages import say


def is_dead(running: Running) -> bool:
    """Whether a running task's owner is provably dead. Work done outside has none; what cannot be seen from here is alive."""
    if running.agent == "external":
        return False
    return running.owner is None or running.owner.identity.alive() is False


def bury(queue: Queue, running: Running, how: str) -> str | None:
    """End what is left of a dead worker's task and settle it; the status it has now.

    A verdict that was written counts. What was never started goes back to the queue; what may have been, and had side effects,
    only if its launcher asked for retries.
    """
    kill_all(lambda: marked(running.claim, queue.home.folder) - {os.getpid()})
    status, _ = queue.settle(_settlement(queue, running, how))
    pid = running.owner.identity.pid if running.owner else None
    say("rescued", id=running.id, pid=pid, status=status)
    return status


def _settlement(queue: Queue, running: Running, how: str) -> Settlement:
    one = Try(running.number, running.claim, running.attempt, running.max_attempts, running.interruptions)
    pid = running.owner.identity.pid if running.owner else "unknown"
    if running.verdict is None and not was_started(queue.home, running.claim):
        return interrupted(one, f"Its worker (pid {pid}) died ({how}) before it was started.")
    error = f"Its worker (pid {pid}) died ({how}) while it ran."
    return settlement_of(one, Outcome(error=error, error_kind="lost"), queue.config)


def was_started(home: Home, claim: int) -> bool:
    """Whether a try's process was ever forked: it makes its output file itself."""
    return home.output(claim, "stdout").exists()


def bury_now(home: Home) -> None:
    """With no supervisor: settle what no living worker has. Somebody else doing the same, or a supervisor, goes first."""
    lock = Lock(home.lock("supervisor"))
    if not lock.acquire():
        return
    database = Database(home)
    try:
        queue = Queue(database, applied_configuration(database))
        for running in Registry(database).running():
            if is_dead(running):
                bury(queue, running, "unseen")
    finally:
        database.close()
        lock.release()
