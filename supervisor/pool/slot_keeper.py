"""Keep the shared slots of dead workers until their tasks are settled.

Worker, fork server and supervisor have copies of the same descriptors, and the slot stays taken while one of them has.
So it outlives any two of the three processes. A new supervisor gets its copies from the fork server, and a new fork
server gets them from the supervisor.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from dataclasses import dataclass

from ...ipc.machine.shared_slots import SharedSlot, wake_waiting
from ...ipc.store.values import Running
from ..system.children import Watch, watch
from .fork_server_client import ForkServerClient
from .workers import WorkerHandle, Workers


@dataclass(frozen=True)
class KeptSlot:
    """The slot of a dead worker, or of a worker that this supervisor does not know and whose death `watch` reports."""

    slot: SharedSlot
    pid: int | None
    owner: int | None = None
    watch: Watch | None = None

    def is_of_dead(self) -> bool:
        """Return True if the worker is dead."""
        return self.watch is None or bool(select.select([self.watch], [], [], 0)[0])

    def is_used_by(self, task: Running) -> bool:
        """Return True if the worker runs this task, or has died while it ran."""
        return task.owner is not None and (self.owner == task.owner.number or self.pid == task.owner.identity.pid)

    def free(self) -> None:
        """Free the slot, and wake the supervisors that wait for it."""
        self.slot.free()
        self.slot.close()
        if self.watch is not None:
            self.watch.close()
        wake_waiting()


class SlotKeeper:
    """The shared slots whose workers are not available any more."""

    def __init__(self, fork_server: ForkServerClient, workers: Workers) -> None:
        self._fork_server = fork_server
        self._workers = workers
        self._kept: list[KeptSlot] = []

    @property
    def keeps_any(self) -> bool:
        """Return True if there are such slots."""
        return bool(self._kept)

    def keep(self, worker: WorkerHandle) -> None:
        """Keep the slot of a worker that is gone."""
        if worker.shared is not None:
            self._kept.append(KeptSlot(worker.shared, worker.pid, worker.owner))
            worker.shared = None

    def receive(self, pid: int, descriptors: Sequence[int]) -> None:
        """Hold a slot that the fork server holds for a worker of an earlier supervisor."""
        slot, worker = SharedSlot(descriptors), self._workers.of_pid(pid)
        if worker is not None and worker.adopted and worker.shared is None:
            worker.shared = slot
        else:
            self._kept.append(KeptSlot(slot, pid, watch=watch(pid)))

    def share(self) -> None:
        """Have a new fork server hold the slots of the workers that an earlier one has forked."""
        for worker in self._workers:
            if worker.shared is not None and worker.pid is not None:
                self._fork_server.share_slot(worker.pid, worker.shared.descriptors)

    def of_dead(self) -> list[KeptSlot]:
        """Return the slots whose workers are dead now, before the running tasks are read for `free`."""
        return [kept for kept in self._kept if kept.is_of_dead()] if self._kept else []

    def free(self, slots: Sequence[KeptSlot], running: Sequence[Running]) -> None:
        """Free those slots of dead workers whose tasks are settled."""
        for kept in slots:
            if not any(map(kept.is_used_by, running)):
                self._kept.remove(kept)
                kept.free()
                if kept.pid is not None:
                    self._fork_server.free_slot(kept.pid)
