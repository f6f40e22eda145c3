"""Who gets the next free slot: of the groups that wait and are not full, the one with the oldest task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

from ipc.claim import Slot
from ipc.groups import Groups, Head
from ipc.queue import Queue
from ipc.registry import Process, Running
from supervisor.concurrency import ConcurrencyManager
from supervisor.crew import Crew, Hand


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

    def hint(self, *groups: str) -> None:
        """There may be something new in these groups."""
        for group in groups:
            self._heads.setdefault(group, 0)

    def look(self, running: list[Running]) -> None:
        """See what really waits, and which work outside has ended: nobody of ours tells."""
        self._heads = {group: head for head, group in self._groups.waiting()}
        claims = {one.claim for one in running}
        for claim in [claim for claim in self._outside if claim not in claims]:
            slot = self._outside.pop(claim)
            self._slots.release(slot.group, slot.number)

    def free(self, hand: Hand) -> None:
        """A worker gives its slot back."""
        if hand.slot is not None:
            self._slots.release(hand.slot.group, hand.slot.number)
            self.hint(hand.slot.group)
        hand.slot, hand.given = None, False

    def welcome(self, hand: Hand) -> None:
        """Tell a new worker how things are done now."""
        hand.tell({"chained": self._chained})

    def recount(self, running: list[Running]) -> None:
        """Count the slots anew, after limits changed, keys moved into other groups, or somebody died."""
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

    def give_out(self, workers: int) -> bool:
        """Give out what is free, to at most so many workers; whether work outside was begun."""
        queue = [(number, group) for group, number in self._heads.items()]
        heapify(queue)
        short = begun = False
        while queue:
            _, group = heappop(queue)
            number = self._slots.acquire(group)
            if number is None:
                continue
            head = self._groups.head(group, self._crew.given(group) + 1)
            if head is None:
                self._heads.pop(group, None)
            elif self._give(Slot(group, number), head, workers):
                begun |= head.outside
                self._heads[group] = head.number
                heappush(queue, (head.number, group))
                continue
            else:
                short |= not self._has_capacity(workers)
            self._slots.release(group, number)
        self._chain(not short)
        return begun

    def _give(self, slot: Slot, head: Head, workers: int) -> bool:
        """Give a slot of a group whose first waiting task is `head`; whether there was somebody to give it to."""
        if head.ready <= self._crew.given(slot.group):
            return False
        if head.outside:
            return self._claim_outside(slot)
        if not self._has_capacity(workers):
            return False
        hand = self._crew.idle() or self._hire()
        hand.slot, hand.given = slot, True
        hand.tell({"run": [slot.group, slot.number]})
        return True

    def _claim_outside(self, slot: Slot) -> bool:
        claimed = self._queue.claim(slot, None)
        if claimed is not None:
            self._outside[claimed.claim] = slot
        return claimed is not None

    def _has_capacity(self, workers: int) -> bool:
        return self._crew.idle() is not None or len(self._crew) < workers

    def _chain(self, chained: bool) -> None:
        """While workers are short, each comes back after a task: the oldest waiting one is next, whatever its group."""
        if chained != self._chained:
            self._chained = chained
            for hand in self._crew:
                self.welcome(hand)
