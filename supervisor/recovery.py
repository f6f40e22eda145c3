"""What becomes of tasks whose owner died: bury the tree, then settle. Rescue rests on proof of death, never on age."""

from __future__ import annotations

import os
from dataclasses import replace

from ipc.claim import Settlement
from ipc.database import Database
from ipc.home import Home
from ipc.lock import Lock, holder
from ipc.moments import moment
from ipc.queue import Queue
from ipc.registry import Registry, Running
from ipc.settings import applied_configuration
from supervisor.execution.files import Files
from supervisor.execution.outcome import Outcome, Try, interrupted, settlement_of
from supervisor.execution.record import path_of, recorded
from supervisor.execution.trees import children_of, is_marked, is_role, is_spared, kill_all, marked
from supervisor.messages import say


def is_dead(running: Running) -> bool:
    """Whether a running task's owner is provably dead. Work done outside has none; what cannot be seen is alive."""
    if running.agent == "external":
        return False
    return running.owner is None or running.owner.identity.alive() is False


def bury(queue: Queue, running: Running, how: str) -> str | None:
    """End what is left of a dead worker's task and settle it; the status it has now.

    A verdict that was written counts, then the exit record. What was never started goes back to the queue; what may
    have been, and may have had side effects, only if its launcher asked for retries.
    """
    kill_all(lambda: _left_behind(running, queue.home) - {os.getpid()})
    files = Files(queue.home, running.claim)
    settlement = _settlement(queue, running, how, files.were_made())
    status, _ = queue.settle(replace(settlement, outputs=files.small()))
    files.forget(inputs=True)
    if running.owner is not None:
        with moment("dead.record.unlink"):
            path_of(queue.home, running.owner.number).unlink(missing_ok=True)
    pid = running.owner.identity.pid if running.owner else None
    say("rescued", id=running.id, pid=pid, status=status)
    return status


def _settlement(queue: Queue, running: Running, how: str, was_started: bool) -> Settlement:
    known = recorded(queue.home, running.owner.number, running.claim) if running.owner else None
    if known is not None:
        return known
    one = Try(running.number, running.claim, running.attempt, running.max_attempts, running.interruptions)
    pid = running.owner.identity.pid if running.owner else "unknown"
    if running.verdict is None and not was_started:
        return interrupted(one, f"Its worker (pid {pid}) died ({how}) before it was started.")
    error = f"Its worker (pid {pid}) died ({how}) while it ran."
    return settlement_of(one, Outcome(error=error, error_kind="lost"), queue.config)


def _left_behind(running: Running, home: Home) -> set[int]:
    """What bears the marks of that try, and what a nursery that was replaced looks after and is none of ours."""
    strays = [_strays_of(holder(path)) for path in home.folder.glob("nursery-*.lock")]
    return marked(running.claim, home.folder).union(_leader(running, home), *strays)


def _leader(running: Running, home: Home) -> set[int]:
    """The task's first process: it goes also where its children are meant to live on."""
    pid = running.pid
    return {pid} if pid is not None and is_marked(pid, running.claim, home.folder) else set()


def _strays_of(nursery: int | None) -> set[int]:
    if not nursery:  # there is none, or none that can be seen: number 0 is the parent of the system's own
        return set()
    return {pid for pid in children_of(nursery) if not is_role(pid) and not is_spared(pid)}


def _strays(home: Home) -> set[int]:
    """The nursery's children that are none of ours: descendants of a dead worker, whatever their environment says."""
    return _strays_of(holder(home.lock("nursery")))


def bury_now(home: Home) -> None:
    """With no supervisor: settle what no living worker has. A supervisor, or somebody doing the same, goes first."""
    lock = Lock(home.lock("supervisor"))
    if not lock.acquire():
        return
    database = Database(home)
    try:
        queue = Queue(database, applied_configuration(database))
        kill_all(lambda: _strays(home))
        for running in Registry(database).running():
            if is_dead(running):
                bury(queue, running, "unseen")
    finally:
        database.close()
        lock.release()
