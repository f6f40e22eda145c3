"""Rescue the tasks of dead workers. Their process trees are killed first. This needs proof of death, not a timeout."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

from ...ipc import clock
from ...ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.machine.identity import boot_id
from ...ipc.machine.lock import Lock
from ...ipc.machine.presence import Presence
from ...ipc.model.claim import Held, Rescued, Settlement
from ...ipc.store import open_store
from ...ipc.store.applied_config import applied_configuration
from ...ipc.store.queue import Queue
from ...ipc.store.values import Holder, Process, Running
from ..execution.journal import Entry, entries_by_claim, outcome_in, settlement_in
from ..execution.outcome import Outcome, interrupted, settlement_of
from ..execution.output_files import AttemptFiles, command_prefix, runner_prefix, was_opened
from ..execution.process_tree import children_of, is_marked, is_role, is_spared, kill_all, marked
from ..log import log


def rescue(queue: Queue, running: Running, how: str) -> None:
    """Kill the remaining processes of a dead worker's tasks, and settle the tasks. `how` describes the worker's death.

    A written verdict counts first, then the outcome in the journal. A task that was not started is requeued. A task
    that may have been started may have had side effects. It runs again only if its launcher asked for retries.
    """
    if running.owner is None:
        _rescue(queue, DeadWorker(None, how, running, ()))
    else:
        rescue_worker(queue, running.owner, how)


def rescue_worker(queue: Queue, owner: Process, how: str) -> None:
    """Rescue all tasks that a dead worker has now. It may have published after its tasks were looked up."""
    tasks = queue.store.hosts.running()
    running = next((task for task in tasks if task.owner is not None and task.owner.number == owner.number), None)
    _rescue(queue, DeadWorker(owner, how, running, queue.store.queue.held_by(owner.number)))


def rescue_dead_holders(queue: Queue, is_known: Callable[[int], bool]) -> list[Holder]:
    """Rescue the tasks that dead workers held. Return the other workers that hold tasks.

    A dead worker is skipped if its number `is_known`, because it is rescued with its running task.
    """
    presence, others = Presence(queue.home), []
    for holder in queue.store.hosts.holders():
        if not is_known(holder.process.number) and presence.is_dead(holder.process.identity):
            rescue_worker(queue, holder.process, "unseen")
        else:
            others.append(holder)
    return others


class DeadWorker(NamedTuple):
    """A dead worker with a description of its death, its running task, and the tasks that it held."""

    owner: Process | None
    how: str
    running: Running | None
    held: Sequence[Held]

    @property
    def attempts(self) -> list[Running | Held]:
        """Return all its tasks, in the order in which they ran or would have run."""
        return [*([] if self.running is None else [self.running]), *self.held]

    @property
    def pid(self) -> int | str:
        """Return the PID, for messages."""
        return self.owner.identity.pid if self.owner is not None else "unknown"


def _rescue(queue: Queue, worker: DeadWorker) -> None:
    home, attempts = queue.home, worker.attempts
    claims = {attempt.claim for attempt in attempts}
    leader = worker.running.pid if worker.running is not None else None
    kill_all(lambda: _leftovers(claims, leader, home) - {os.getpid()})
    settlements = _Settlements(queue, worker)
    statuses = queue.rescue([settlements.of(attempt) for attempt in attempts])
    for attempt, status in zip(attempts, statuses, strict=True):
        settlements.files[attempt.claim].delete_saved()
        settlements.files[attempt.claim].delete_inputs()
        log("rescued", id=attempt.id, pid=worker.pid, how=worker.how, status=status)
    if worker.owner is not None:
        remove_files(home, worker.owner.number)


class _Settlements:
    """Decides how each task of a dead worker is settled, from the worker's journal and output files."""

    def __init__(self, queue: Queue, worker: DeadWorker) -> None:
        self._queue, self._worker = queue, worker
        #: The files of each attempt, which record what the database has.
        self.files = {attempt.claim: AttemptFiles(queue.home, attempt.claim) for attempt in worker.attempts}
        owner = worker.owner
        self._same_boot = owner is not None and owner.identity.boot == boot_id()
        self._entries = entries_by_claim(queue.home, owner.number) if owner and self._same_boot else {}

    def of(self, attempt: Running | Held) -> Rescued:
        """Return one attempt with its settlement."""
        entries = self._entries.get(attempt.claim, [])
        files = self.files[attempt.claim]
        started = self._may_have_started(attempt, entries, files)
        if started and entries and all(entry.kind == "s" for entry in entries):
            self._adopt_outputs(attempt, files)
        settlement = self._settlement(attempt, entries, started)
        if settlement is not None:
            settlement = settlement._replace(outputs=(*settlement.outputs, *files.small()))
        if isinstance(attempt, Running):
            return Rescued(attempt.number, attempt.claim, settlement)
        started_at = entries[0].at // 1000 if entries else clock.now()
        return Rescued(attempt.number, attempt.claim, settlement, attempt.group, started_at)

    def _may_have_started(self, attempt: Running | Held, entries: Sequence[Entry], files: AttemptFiles) -> bool:
        owner = self._worker.owner
        if owner is None or not self._same_boot:  # the journal was not synced, so entries may be missing
            return True
        if attempt.agent == "python" or any(entry.kind != "s" for entry in entries):
            return bool(entries)
        return files.exist() or (bool(entries) and was_opened(self._queue.home, owner.number))

    def _settlement(self, attempt: Running | Held, entries: Sequence[Entry], started: bool) -> Settlement | None:
        config = self._queue.config
        for entry in reversed(entries):
            if entry.kind != "s":
                document = entry.document
                settlement = settlement_in(document)
                if settlement is not None:  # the output is in the entry that notes the end of the call
                    return settlement._replace(outputs=_noted_outputs(entries))
                return settlement_of(attempt, outcome_in(document), config, entry.at // 1000)
        if started or (isinstance(attempt, Running) and attempt.verdict is not None):
            error = f"Its worker (pid {self._worker.pid}) died ({self._worker.how}) while it ran."
            return settlement_of(attempt, Outcome(error=error, error_kind="lost"), config)
        if isinstance(attempt, Held):
            return None
        error = f"Its worker (pid {self._worker.pid}) died ({self._worker.how}) before it was started."
        return interrupted(attempt, error)

    def _adopt_outputs(self, attempt: Running | Held, files: AttemptFiles) -> None:
        """Move the output of the running task from the worker's files to the task's own files, unless those exist."""
        owner = self._worker.owner
        assert owner is not None, "its journal was read"
        prefix_of = runner_prefix if attempt.agent == "python" else command_prefix
        for stream, path in files.paths.items():
            if not os.path.exists(path):
                with suppress(FileNotFoundError), failpoint("dead.output.rename"):
                    os.rename(f"{prefix_of(self._queue.home, owner.number)}.{stream}", path)


def _noted_outputs(entries: Sequence[Entry]) -> tuple[tuple[str, bytes], ...]:
    ends = [outcome_in(entry.document) for entry in entries if entry.kind != "s"]
    return tuple(output for end in ends for output in end.outputs)


def remove_files(home: Home, owner: int) -> None:
    """Delete the journal and the output files of a worker that is gone and has no unsettled tasks."""
    folder = home.folder / "output"
    patterns = (f"worker-{owner}.*", f"worker-{owner}-*", f"command-{owner}.*")
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        with failpoint("dead.file.unlink"):
            path.unlink(missing_ok=True)


def remove_stale_files(home: Home, workers: Collection[int]) -> None:
    """Delete the files of workers that are no longer registered."""
    for path in (home.folder / "output").glob("[cw]*-*"):
        kind, _, rest = path.name.partition("-")
        number = rest.partition(".")[0].partition("-")[0]
        if kind in ("worker", "command") and number.isdecimal() and int(number) not in workers:
            with failpoint("stale.file.unlink"):
                path.unlink(missing_ok=True)


def _leftovers(claims: set[int], leader: int | None, home: Home) -> set[int]:
    """Return the processes that bear the marks of these attempts, and the strays of replaced fork servers.

    They include the first process of the running task, even if its children may outlive it.
    """
    presence = Presence(home)
    strays = [_strays_of(presence.holder(path.stem)) for path in home.folder.glob("forkserver-*.lock")]
    leaders = {leader} if leader is not None and is_marked(leader, claims, home.folder) else set[int]()
    return marked(claims, home.folder).union(leaders, *strays)


def _strays_of(fork_server: int | None) -> set[int]:
    # 0 stands for a process in another PID namespace. Here, PID 0 is the parent of the kernel's processes.
    if not fork_server:
        return set()
    return {pid for pid in children_of(fork_server) if not is_role(pid) and not is_spared(pid)}


def _strays(home: Home) -> set[int]:
    """Return the children of the fork server that are not roles. They are descendants of dead workers."""
    return _strays_of(Presence(home).holder("forkserver"))


def rescue_all(home: Home) -> None:
    """Rescue the tasks of all dead workers, unless a supervisor or another call of this function is running."""
    lock = Lock(home.lock("supervisor"))
    if not lock.acquire():
        return
    store = open_store(home, DEFAULT_BACKGROUND_CONFIG, "command")
    try:
        queue, presence = Queue(store, applied_configuration(store)), Presence(home)
        kill_all(lambda: _strays(home))
        for running in store.hosts.running():
            if running.is_orphaned(presence):
                rescue(queue, running, "unseen")
        rescue_dead_holders(queue, is_known=lambda _owner: False)
    finally:
        store.close()
        lock.release()
