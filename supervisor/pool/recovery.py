"""Rescue the tasks of dead workers: kill their trees, then settle them. This needs proof of death, not a timeout."""

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
    """Kill what is left of a dead worker's tasks and settle them. `how` is how the worker died.

    A written verdict counts first, then the end in the journal. A task that was not started is requeued. A task
    that may have been started, and may have had side effects, runs again only if its launcher asked for retries.
    """
    if running.owner is None:
        _rescue(queue, DeadWorker(None, how, running, ()))
    else:
        rescue_worker(queue, running.owner, how)


def rescue_worker(queue: Queue, owner: Process, how: str) -> None:
    """Rescue all tasks that a dead worker has now. It may have published after its tasks were looked up."""
    tasks = queue.store.hosts.running()
    running = next((one for one in tasks if one.owner is not None and one.owner.number == owner.number), None)
    _rescue(queue, DeadWorker(owner, how, running, queue.store.queue.held_by(owner.number)))


def rescue_dead_holders(queue: Queue, is_known: Callable[[int], bool]) -> list[Holder]:
    """Rescue the tasks that dead workers held. Return the other workers that hold tasks.

    A dead worker whose number `is_known` is skipped, because it is rescued with its running task.
    """
    presence, others = Presence(queue.home), []
    for holder in queue.store.hosts.holders():
        if not is_known(holder.process.number) and presence.is_dead(holder.process.identity):
            rescue_worker(queue, holder.process, "unseen")
        else:
            others.append(holder)
    return others


class DeadWorker(NamedTuple):
    """A dead worker: how it died, its running task, and the tasks that it held."""

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
    claims = {one.claim for one in attempts}
    leader = worker.running.pid if worker.running is not None else None
    kill_all(lambda: _leftovers(claims, leader, home) - {os.getpid()})
    settlements = _Settlements(queue, worker)
    statuses = queue.rescue([settlements.of(one) for one in attempts])
    for one, status in zip(attempts, statuses, strict=True):
        settlements.files[one.claim].delete_saved()
        settlements.files[one.claim].delete_inputs()
        log("rescued", id=one.id, pid=worker.pid, how=worker.how, status=status)
    if worker.owner is not None:
        remove_files(home, worker.owner.number)


class _Settlements:
    """Decides, by the journal and the output files of a dead worker, how each of its tasks is settled."""

    def __init__(self, queue: Queue, worker: DeadWorker) -> None:
        self._queue, self._worker = queue, worker
        #: The files of each attempt, which record what the database has.
        self.files = {one.claim: AttemptFiles(queue.home, one.claim) for one in worker.attempts}
        owner = worker.owner
        self._same_boot = owner is not None and owner.identity.boot == boot_id()
        self._entries = entries_by_claim(queue.home, owner.number) if owner and self._same_boot else {}

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
        owner = self._worker.owner
        if owner is None or not self._same_boot:  # the journal was not synced: entries may be missing
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
                if settlement is not None:  # the output is in the entry for the end of the call
                    return settlement._replace(outputs=_noted_outputs(entries))
                return settlement_of(one, outcome_in(document), config, entry.at // 1000)
        if started or (isinstance(one, Running) and one.verdict is not None):
            error = f"Its worker (pid {self._worker.pid}) died ({self._worker.how}) while it ran."
            return settlement_of(one, Outcome(error=error, error_kind="lost"), config)
        if isinstance(one, Held):
            return None
        return interrupted(one, f"Its worker (pid {self._worker.pid}) died ({self._worker.how}) before it was started.")

    def _adopt_outputs(self, one: Running | Held, files: AttemptFiles) -> None:
        """Move the output of the running task from the worker's files to its own files, unless it has some."""
        owner = self._worker.owner
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
    """Delete the journal and the output files of a worker that is gone and has no unsettled tasks."""
    folder = home.folder / "output"
    found = [*folder.glob(f"worker-{owner}.*"), *folder.glob(f"worker-{owner}-*"), *folder.glob(f"command-{owner}.*")]
    for path in found:
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
    if not fork_server:  # None, or 0 for one in another PID namespace (PID 0 is the parent of the kernel's processes)
        return set()
    return {pid for pid in children_of(fork_server) if not is_role(pid) and not is_spared(pid)}


def _strays(home: Home) -> set[int]:
    """Return the children of the fork server that are not roles: descendants of dead workers."""
    return _strays_of(Presence(home).holder("forkserver"))


def rescue_all(home: Home) -> None:
    """Rescue the tasks of all dead workers, unless a supervisor, or another process that does the same, is running."""
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
