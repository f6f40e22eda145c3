"""Who gets the next free slot: of the groups that wait and are not full, the one with the oldest task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

from ...ipc import clock
from ...ipc.model.claim import Slot
from ...ipc.store.groups import Groups, Head
from ...ipc.store.parking import ParkedSlots
from ...ipc.store.processes import Process, Running
from ...ipc.store.queue import Queue
from ..concurrency import ConcurrencyManager
from .workers import Crew, Hand

#: Workers of a group that are put to work at once. Short tasks are done by these in series; more would only get in each
#: other's way.
RAMP_WORKERS = 2

#: Milliseconds that the first ready task of a group waits before it gets a further worker.
RAMP_WAIT = 5


class Dispatch:
    """Gives slots to workers. What waits and runs is in the database; this is what is known of it, and of the slots."""

    def __init__(self, crew: Crew, groups: Groups, queue: Queue, hire: Callable[[], Hand]) -> None:
        """`hire` makes a new worker."""
        self._crew = crew
        self._groups = groups
        self._queue = queue
        self._hire = hire
        self._slots = ConcurrencyManager(groups.limits())
        self._heads: dict[str, int] = {}
        self._outside: dict[int, Slot] = {}
        self._chained = True
        self._parked_slots = ParkedSlots(queue.database)
        #: The parked workers, as of the last look or round.
        self._parked: list[Hand] = []
        #: When to give out again because a task will have waited long enough, in seconds (monotonic).
        self.look_at = float("inf")

    def hint(self, *groups: str) -> None:
        """There may be something new in these groups."""
        for group in groups:
            self._heads.setdefault(group, 0)

    def look(self, running: list[Running]) -> None:
        """See what really waits, and which work outside has ended: nobody of ours tells."""
        self._heads = {group: head for head, group in self._groups.waiting()}
        self._parked = self._find_parked()
        claims = {one.claim for one in running}
        for claim in [claim for claim in self._outside if claim not in claims]:
            slot = self._outside.pop(claim)
            self._slots.release(slot.group, slot.number)

    def any_at_work(self) -> bool:
        """Return True if a worker has a slot and was not parked at the last look."""
        return any(hand.slot is not None and hand not in self._parked for hand in self._crew)

    def free(self, hand: Hand) -> None:
        """A worker gives its slot back."""
        if hand.slot is not None:
            self._slots.release(hand.slot.group, hand.slot.number)
            self.hint(hand.slot.group)
        hand.become_idle()

    def welcome(self, hand: Hand) -> None:
        """Tell a new worker how things are done now."""
        hand.tell({"chained": self._chained})

    def recount(self, running: list[Running]) -> None:
        """Count the slots anew, after limits changed, keys moved into other groups, or a worker died.

        No worker stays parked: its slot may be above the limit now, or in a group that is no more.
        """
        self.unpark_all()
        self._slots.clear()
        self._slots.use(self._groups.limits())
        for one in running:
            self._slots.hold(one.slot.group, one.slot.number)
        self._outside = {one.claim: one.slot for one in running if one.agent == "external"}
        owners = {one.slot: one.owner for one in running if one.owner}
        slots = {owner.number: slot for slot, owner in owners.items()}
        for hand in self._crew:
            hand.slot = slots.get(hand.owner or 0) or self._kept(hand, owners)

    def _kept(self, hand: Hand, owners: Mapping[Slot, Process]) -> Slot | None:
        """The slot of a worker that is on its way to it, unless a task that was moved has it now."""
        slot = hand.slot
        if slot is None or (slot in owners and hand.may_be(owners[slot])):
            return slot
        try:
            self._slots.hold(slot.group, slot.number)
        except ValueError:
            return None
        return slot

    def unpark_all(self) -> None:
        """Take the slots of all parked workers back; count the slots again before any is given out.

        A worker that has parked before its first message was read keeps its slot: it is not known yet which one it is.
        """
        for owner in self._parked_slots.all():
            hand = self._crew.of_owner(owner)
            if hand is not None and self._parked_slots.take_back(owner):
                hand.become_idle()

    def give_out(self, workers: int) -> bool:
        """Give out what is free, to at most so many workers; return True if external work was begun."""
        queue = [(number, group) for group, number in self._heads.items()]
        heapify(queue)
        if queue:
            self._parked = self._find_parked()
        self.look_at = float("inf")
        short = begun = False
        while queue:
            _, group = heappop(queue)
            head = self._next_in(group)
            if head is None or self._is_ramping(group, head):
                continue
            if self._give(group, head, workers):
                begun |= head.outside
                self._heads[group] = head.number
                heappush(queue, (head.number, group))
            else:
                short |= not self._has_capacity(workers)
        self._chain(not short)
        return begun

    def _next_in(self, group: str) -> Head | None:
        """Return the first ready task of a group, or None if there is no slot for it."""
        if self._slots.is_full(group) and self._parked_in(group) is None:
            return None
        head = self._groups.head(group, self._crew.given(group) + 1)
        if head is None:
            self._heads.pop(group, None)
        return head

    def _is_ramping(self, group: str, head: Head) -> bool:
        """Return True while enough workers are in the group for a task that has just come."""
        waited = clock.now() - head.queued_at
        at_work = [hand for hand in self._crew.in_group(group) if hand not in self._parked]
        if head.outside or len(at_work) < RAMP_WORKERS or not 0 <= waited < RAMP_WAIT:
            return False
        self.look_at = min(self.look_at, clock.monotonic() + (RAMP_WAIT - waited) / 1000)
        return True

    def _give(self, group: str, head: Head, workers: int) -> bool:
        """Give a slot of a group whose first ready task is `head`; return False if no worker can take it now."""
        if head.ready <= self._crew.given(group):
            return False
        parked = self._parked_in(group)
        if parked is not None:
            self._unpark(parked)
        number = self._slots.acquire(group)
        if number is None:
            return False
        slot = Slot(group, number)
        if self._claim_outside(slot) if head.outside else self._assign(slot, workers):
            return True
        self._slots.release(group, number)
        return False

    def _assign(self, slot: Slot, workers: int) -> bool:
        hand = self._available(workers)
        if hand is None:
            return False
        hand.slot, hand.given = slot, True
        hand.tell({"run": [slot.group, slot.number]})
        return True

    def _available(self, workers: int) -> Hand | None:
        """Return an idle worker, a new one, or one that was parked in another slot."""
        while self._crew.idle() is None and len(self._crew) >= workers and self._parked:
            self._unpark(self._parked[0])
        idle = self._crew.idle()
        return self._hire() if idle is None and len(self._crew) < workers else idle

    def _find_parked(self) -> list[Hand]:
        slots = self._parked_slots.all()
        return [hand for hand in self._crew if hand.owner in slots and not hand.leaving and not hand.adopted]

    def _parked_in(self, group: str) -> Hand | None:
        return next((hand for hand in self._parked if hand.slot is not None and hand.slot.group == group), None)

    def _unpark(self, hand: Hand) -> None:
        """Take the slot of a parked worker back, unless a launch was faster."""
        assert hand.owner is not None, "it has a row"
        self._parked.remove(hand)
        if self._parked_slots.take_back(hand.owner):
            self.free(hand)

    def _claim_outside(self, slot: Slot) -> bool:
        claimed = self._queue.claim(slot, None)
        if claimed is not None:
            self._outside[claimed.claim] = slot
        return claimed is not None

    def _has_capacity(self, workers: int) -> bool:
        return self._crew.idle() is not None or len(self._crew) < workers or bool(self._parked)

    def _chain(self, chained: bool) -> None:
        """While workers are short, each comes back after a task: the oldest waiting one is next, whatever its group."""
        if chained != self._chained:
            self._chained = chained
            for hand in self._crew:
                self.welcome(hand)
