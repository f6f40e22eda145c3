"""Rescuing the tasks of dead workers: end their trees, then settle. Rescue rests on proof of death, never on age."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.machine.boot import boot_id
from ...ipc.machine.lock import Lock, holder
from ...ipc.machine.presence import Presence
from ...ipc.model.claim import Held, Rescued, Settlement
from ...ipc.store.applied_config import applied_configuration
from ...ipc.store.processes import Process, ProcessTable, Running
from ...ipc.store.queue import Queue
from ...ipc.store.sqlite.database import Database
from ..execution.journal import Entry, entries_by_claim, outcome_in, settlement_in
from ..execution.outcome import Outcome, interrupted, settlement_of
from ..execution.output_files import AttemptFiles, command_prefix, runner_prefix, was_opened
from ..execution.process_tree import children_of, is_marked, is_role, is_spared, kill_all, marked
from ..log import say


def rescue(queue: Queue, running: Running, how: str) -> None:
    """End what is left of a dead worker's tasks and settle them.

    A verdict that was written counts, then the end in the journal. What was not started goes back to the queue;
    what may have been started, and may have had side effects, is run again only if its launcher asked for retries.
    """
    if running.owner is None:
        _rescue(queue, Lost(None, how, running, ()))
    else:
        rescue_worker(queue, running.owner, how)


def rescue_worker(queue: Queue, owner: Process, how: str) -> None:
    """Do the same for all that a dead worker has now: it may have published after its tasks were looked up."""
    tasks = ProcessTable(queue.database).running()
    running = next((one for one in tasks if one.owner is not None and one.owner.number == owner.number), None)
    _rescue(queue, Lost(owner, how, running, queue.held_by(owner.number)))


class Lost(NamedTuple):
    """What a dead worker had: how it died, its running task, and the tasks that it held."""

    owner: Process | None
    how: str
    running: Running | None
    held: Sequence[Held]

    @property
    def attempts(self) -> list[Running | Held]:
        """All of them, in the order in which they ran or would have run."""
        return [*([] if self.running is None else [self.running]), *self.held]

    @property
    def pid(self) -> int | str:
        """The worker's process, for people to read."""
        return self.owner.identity.pid if self.owner is not None else "unknown"


def _rescue(queue: Queue, lost: Lost) -> None:
    home, attempts = queue.home, lost.attempts
    claims = {one.claim for one in attempts}
    leader = lost.running.pid if lost.running is not None else None
    kill_all(lambda: _left_behind(claims, leader, home) - {os.getpid()})
    record = _Record(queue, lost)
    rescued = [record.of(one) for one in attempts]
    statuses = queue.rescue(rescued)
    for one, status in zip(attempts, statuses, strict=True):
        record.files[one.claim].delete_saved()
        record.files[one.claim].delete_inputs()
        say("rescued", id=one.id, pid=lost.pid, status=status)
    if lost.owner is not None:
        remove_files(home, lost.owner.number)


class _Record:
    """What is known of how far the tasks of a dead worker had come."""

    def __init__(self, queue: Queue, lost: Lost) -> None:
        self._queue, self._lost = queue, lost
        #: The files of each attempt; they know what of them is in the database.
        self.files = {one.claim: AttemptFiles(queue.home, one.claim) for one in lost.attempts}
        self._same_boot = lost.owner is not None and lost.owner.identity.boot == boot_id()
        self._entries = entries_by_claim(queue.home, lost.owner.number) if lost.owner and self._same_boot else {}

    def of(self, one: Running | Held) -> Rescued:
        """Return one attempt with its settlement."""
        entries = self._entries.get(one.claim, [])
        files = self.files[one.claim]
        started = self._may_have_started(one, entries, files)
        if started and entries and all(entry.kind == "s" for entry in entries):
            self._adopt_outputs(one, files)
        settlement = self._settlement(one, entries, started)
        if settlement is not None:
            settlement = settlement._replace(outputs=(*settlement.outputs, *files.small()))
        if isinstance(one, Running):
            return Rescued(one.number, one.claim, settlement)
        started_at = entries[0].at // 1000 if entries else clock.now()
        return Rescued(one.number, one.claim, settlement, one.group, started_at)

    def _may_have_started(self, one: Running | Held, entries: Sequence[Entry], files: AttemptFiles) -> bool:
        owner = self._lost.owner
        if owner is None or not self._same_boot:  # the journal was not synced: what it said may be gone
            return True
        if one.agent == "python" or any(entry.kind != "s" for entry in entries):
            return bool(entries)
        return files.exist() or (bool(entries) and was_opened(self._queue.home, owner.number))

    def _settlement(self, one: Running | Held, entries: Sequence[Entry], started: bool) -> Settlement | None:
        config = self._queue.config
        for entry in reversed(entries):
            if entry.kind != "s":
                document = entry.document
                settlement = settlement_in(document)
                if settlement is not None:  # the output stands where the end of the call was noted
                    return settlement._replace(outputs=_noted_outputs(entries))
                return settlement_of(one, outcome_in(document), config, entry.at // 1000)
        if started or (isinstance(one, Running) and one.verdict is not None):
            error = f"Its worker (pid {self._lost.pid}) died ({self._lost.how}) while it ran."
            return settlement_of(one, Outcome(error=error, error_kind="lost"), config)
        if isinstance(one, Held):
            return None
        return interrupted(one, f"Its worker (pid {self._lost.pid}) died ({self._lost.how}) before it was started.")

    def _adopt_outputs(self, one: Running | Held, files: AttemptFiles) -> None:
        """What the task that ran has written so far lies in files of its worker, unless it was watched by itself."""
        owner = self._lost.owner
        assert owner is not None, "its journal was read"
        name = runner_prefix if one.agent == "python" else command_prefix
        for stream, path in files.paths.items():
            if not os.path.exists(path):
                with suppress(FileNotFoundError), failpoint("dead.output.rename"):
                    os.rename(f"{name(self._queue.home, owner.number)}.{stream}", path)


def _noted_outputs(entries: Sequence[Entry]) -> tuple[tuple[str, bytes], ...]:
    ends = [outcome_in(entry.document) for entry in entries if entry.kind != "s"]
    return tuple(output for end in ends for output in end.outputs)


def remove_files(home: Home, owner: int) -> None:
    """Delete the journal and the output files of a worker that is gone and has nothing unsettled."""
    folder = home.folder / "output"
    found = [*folder.glob(f"worker-{owner}.*"), *folder.glob(f"worker-{owner}-*"), *folder.glob(f"command-{owner}.*")]
    for path in found:
        with failpoint("dead.file.unlink"):
            path.unlink(missing_ok=True)


def remove_stale_files(home: Home, workers: Collection[int]) -> None:
    """Delete the files of workers that are not registered any more."""
    for path in (home.folder / "output").glob("[cw]*-*"):
        kind, _, rest = path.name.partition("-")
        number = rest.partition(".")[0].partition("-")[0]
        if kind in ("worker", "command") and number.isdecimal() and int(number) not in workers:
            with failpoint("stale.file.unlink"):
                path.unlink(missing_ok=True)


def _left_behind(claims: set[int], leader: int | None, home: Home) -> set[int]:
    """Return what bears the marks of these attempts, and the strays of fork servers that were replaced.

    The first process of the running task is one of them also where its children are meant to live on.
    """
    strays = [_strays_of(holder(path)) for path in home.folder.glob("forkserver-*.lock")]
    leaders = {leader} if leader is not None and is_marked(leader, claims, home.folder) else set[int]()
    return marked(claims, home.folder).union(leaders, *strays)


def _strays_of(fork_server: int | None) -> set[int]:
    if not fork_server:  # there is none, or none that can be seen: number 0 is the parent of the system's own
        return set()
    return {pid for pid in children_of(fork_server) if not is_role(pid) and not is_spared(pid)}


def _strays(home: Home) -> set[int]:
    """Return the children of the fork server that are no roles: descendants of dead workers."""
    return _strays_of(Presence(home).holder("forkserver"))


def rescue_all(home: Home) -> None:
    """With no supervisor: settle what no living worker has. A supervisor, or somebody doing the same, goes first."""
    lock = Lock(home.lock("supervisor"))
    if not lock.acquire():
        return
    database = Database(home)
    try:
        queue = Queue(database, applied_configuration(database))
        kill_all(lambda: _strays(home))
        table = ProcessTable(database)
        for running in table.running():
            if running.is_orphaned(table.presence):
                rescue(queue, running, "unseen")
        for worker in table.holders():
            if table.presence.is_dead(worker.process.identity):
                rescue_worker(queue, worker.process, "unseen")
    finally:
        database.close()
        lock.release()
