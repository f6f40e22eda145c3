"""Assign free slots. The next slot goes to the group with the oldest ready task, among the groups that are not full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

from ...ipc import clock
from ...ipc.model.claim import Slot
from ...ipc.store.groups import Groups
from ...ipc.store.queue import Queue
from ...ipc.store.values import Head, Process, Running
from ..concurrency import ConcurrencyManager
from .shared_limits import SharedLimits
from .workers import WorkerHandle, Workers

#: The number of workers that a group gets at once. They run short tasks in series, and more workers would compete.
RAMP_WORKERS = 2

#: Milliseconds for which the first ready task of a group waits before the group gets another worker.
RAMP_WAIT = 5


class Dispatch:
    """Assigns slots to workers, from its own records of ready tasks and slots. The claim checks the database."""

    def __init__(
        self, workers: Workers, groups: Groups, queue: Queue, spawn: Callable[[], WorkerHandle], shared: SharedLimits
    ) -> None:
        """Call `spawn` for a new worker."""
        self._workers = workers
        self._shared = shared
        self._groups = groups
        self._queue = queue
        self._spawn_worker = spawn
        self._slots = ConcurrencyManager(groups.limits())
        self._heads: dict[str, int] = {}
        self._external: dict[int, Slot] = {}
        self._chained = True
        self._parked_slots = queue.store.queue
        #: The parked workers at the last look or the last assignment of slots.
        self._parked: list[WorkerHandle] = []
        #: The time (seconds, monotonic) to assign slots again, because a task has waited long enough then.
        self.look_at = float("inf")

    def hint(self, *groups: str) -> None:
        """Record that these groups may have new tasks."""
        for group in groups:
            self._heads.setdefault(group, 0)

    def look(self, running: list[Running]) -> None:
        """Read which groups have ready tasks. Free the slots of ended external work, which no worker reports."""
        self._heads = {group: head for head, group in self._queue.store.limits.waiting()}
        self._parked = self._find_parked()
        claims = {task.claim for task in running}
        for claim in [claim for claim in self._external if claim not in claims]:
            slot = self._external.pop(claim)
            self._slots.release(slot.group, slot.number)

    def any_at_work(self) -> bool:
        """Return True if a worker has a slot and was not parked at the last look."""
        return any(worker.slot is not None and worker not in self._parked for worker in self._workers)

    def free(self, worker: WorkerHandle) -> None:
        """Free the slot of a worker, if it has one."""
        if worker.slot is not None:
            self._slots.release(worker.slot.group, worker.slot.number)
            self.hint(worker.slot.group)
        worker.become_idle()

    def brief(self, worker: WorkerHandle) -> None:
        """Send a worker the settings that change while it lives."""
        worker.order({"chained": self._chained})

    def recount(self, running: list[Running]) -> None:
        """Count the slots again after limits were changed, keys moved to other groups, or a worker died.

        No worker stays parked, because its slot may be above the limit now, or in a group that no longer exists.
        """
        self.unpark_all()
        self._slots.clear()
        self._slots.use(self._groups.limits())
        for task in running:
            self._slots.hold(task.slot.group, task.slot.number)
        self._external = {task.claim: task.slot for task in running if task.agent == "external"}
        owners = {task.slot: task.owner for task in running if task.owner}
        slots = {owner.number: slot for slot, owner in owners.items()}
        for worker in self._workers:
            worker.slot = slots.get(worker.owner or 0) or self._hold_again(worker, owners)

    def _hold_again(self, worker: WorkerHandle, owners: Mapping[Slot, Process]) -> Slot | None:
        """Hold the slot of a worker without a running task. Return None if a task that was moved has the slot now."""
        slot = worker.slot
        if slot is None or (slot in owners and worker.may_be(owners[slot])):
            return slot
        try:
            self._slots.hold(slot.group, slot.number)
        except ValueError:
            return None
        return slot

    def unpark_all(self) -> None:
        """Take the slots of all parked workers back. Before the next assignment, the slots must be counted again.

        A worker that parked before its first message was read keeps its slot, because its number is not known yet.
        """
        for owner in self._parked_slots.parked():
            worker = self._workers.of_owner(owner)
            if worker is not None and self._parked_slots.unpark(owner):
                worker.become_idle()

    def assign_slots(self, max_workers: int) -> bool:
        """Assign all free slots that can be used. Return True if external work was started."""
        queue = [(number, group) for group, number in self._heads.items()]
        heapify(queue)
        if queue:
            self._parked = self._find_parked()
        self.look_at = float("inf")
        is_short = has_started = False
        while queue:
            _, group = heappop(queue)
            head = self._next_in(group)
            if head is None or self._is_ramping(group, head):
                continue
            if self._use_slot(group, head, max_workers):
                has_started |= head.external
                self._heads[group] = head.number
                heappush(queue, (head.number, group))
            else:
                is_short |= not self._has_capacity(max_workers)
        self._chain(not is_short)
        self._shared.stop_waiting()
        return has_started

    def _next_in(self, group: str) -> Head | None:
        """Return the first ready task of a group, or None if there is no slot for it."""
        if self._slots.is_full(group) and self._parked_in(group) is None:
            return None
        head = self._queue.store.limits.head(group, self._workers.count_assigned(group) + 1)
        if head is None:
            self._heads.pop(group, None)
        elif self._shared.active:
            return self._next_with_shared_slot(group, head)
        return head

    def _next_with_shared_slot(self, group: str, head: Head) -> Head | None:
        """Return the first ready task of a group for which a shared slot is free, if it needs one."""
        if head.external or not self._shared.is_full(self._shared.pool(head.key)):
            return head
        if not self._shared.is_mixed(group):
            return None
        limit = self._workers.count_assigned(group) + 1
        return self._queue.store.limits.head(group, limit, lambda key: self._shared.is_full(self._shared.pool(key)))

    def _is_ramping(self, group: str, head: Head) -> bool:
        """Return True if the group has enough workers for a task that has just arrived."""
        waited = clock.now() - head.queued_at
        at_work = [worker for worker in self._workers.in_group(group) if worker not in self._parked]
        if head.external or len(at_work) < RAMP_WORKERS or not 0 <= waited < RAMP_WAIT:
            return False
        self.look_at = min(self.look_at, clock.monotonic() + (RAMP_WAIT - waited) / 1000)
        return True

    def _use_slot(self, group: str, head: Head, max_workers: int) -> bool:
        """Use a slot of a group whose first ready task is `head`. Return False if no worker can take it now."""
        if head.ready <= self._workers.count_assigned(group):
            return False
        parked = self._parked_in(group)
        if parked is not None:
            self._unpark(parked)
        number = self._slots.acquire(group)
        if number is None:
            return False
        slot = Slot(group, number)
        if self._claim_external(slot) if head.external else self._assign(slot, head, max_workers):
            return True
        self._slots.release(group, number)
        return False

    def _assign(self, slot: Slot, head: Head, max_workers: int) -> bool:
        pool = self._shared.pool(head.key)
        worker = self._available(max_workers) if pool is None else self._available_with_slot(pool, max_workers)
        if worker is None:
            return False
        order: dict[str, object] = {"run": [slot.group, slot.number]}
        if pool is not None or self._shared.is_mixed(slot.group):
            order["key"] = head.key if self._shared.is_mixed(slot.group) else None
        worker.slot, worker.assigned = slot, True
        worker.order(order)
        return True

    def _available_with_slot(self, pool: str, max_workers: int) -> WorkerHandle | None:
        """Return an available worker that has just taken a shared slot, or None."""
        while (worker := self._available(max_workers)) is not None and not self._shared.fits(worker.shared):
            worker.dismiss()  # it was started before there were shared limits, or the file of slots was replaced
        return worker if worker is not None and self._shared.take(worker.shared, pool) else None

    def _available(self, max_workers: int) -> WorkerHandle | None:
        """Return an idle worker, a new worker, or a worker that was parked in another slot."""
        while self._workers.idle() is None and len(self._workers) >= max_workers and self._parked:
            self._unpark(self._parked[0])
        idle = self._workers.idle()
        return self._spawn_worker() if idle is None and len(self._workers) < max_workers else idle

    def _find_parked(self) -> list[WorkerHandle]:
        slots = self._parked_slots.parked()
        return [
            worker for worker in self._workers if worker.owner in slots and not worker.leaving and not worker.adopted
        ]

    def _parked_in(self, group: str) -> WorkerHandle | None:
        in_group = (worker for worker in self._parked if worker.slot is not None and worker.slot.group == group)
        return next(in_group, None)

    def _unpark(self, worker: WorkerHandle) -> None:
        """Take the slot of a parked worker back, unless a launch was faster."""
        assert worker.owner is not None, "it has a row"
        self._parked.remove(worker)
        if self._parked_slots.unpark(worker.owner):
            self.free(worker)

    def _claim_external(self, slot: Slot) -> bool:
        claimed = self._queue.claim(slot, None)
        if claimed is not None:
            self._external[claimed.claim] = slot
        return claimed is not None

    def _has_capacity(self, max_workers: int) -> bool:
        return self._workers.idle() is not None or len(self._workers) < max_workers or bool(self._parked)

    def _chain(self, chained: bool) -> None:
        """Let workers take task after task of their group, or give the slot back after each task if workers are short.

        If they give it back, the oldest ready task is next, whatever its group.
        """
        if chained != self._chained:
            self._chained = chained
            for worker in self._workers:
                self.brief(worker)
