"""The dead: whose tasks they held, that their strays are gone, and only then what becomes of the tasks."""

from __future__ import annotations

from typing import Any

from ...ipc.store.parking import ParkedSlots
from ...ipc.store.processes import ProcessTable, Running
from ...ipc.store.queue import Queue
from ..system.children import how
from .fork_server_client import ForkServerClient
from .recovery import remove_files, rescue
from .workers import Hand

#: Of so many dead it is known how they died, until that is told of their tasks.
MOST_STATUSES = 1000


class Burial:
    """Tasks whose owner died wait here until the fork server has ended the strays; their slots are taken until then."""

    def __init__(self, fork_server: ForkServerClient) -> None:
        """Nobody is dead yet."""
        self._fork_server = fork_server
        self._gone: list[Hand] = []
        self._waiting: dict[int, list[Running]] = {}
        self._swept: set[int] = set()
        self._statuses: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Whether anybody is still to be buried."""
        return bool(self._waiting)

    def lost(self, hand: Hand) -> None:
        """A worker died, or left; what it held is looked up in the next turn."""
        self._gone.append(hand)

    def heard(self, message: dict[str, Any]) -> None:
        """The fork server tells how somebody died, or that the strays are gone."""
        if "swept" in message:
            self._swept.add(message["swept"])
        elif message["status"]:  # of those that left well nothing will be said
            self._statuses[message["died"]] = message["status"]
            while len(self._statuses) > MOST_STATUSES:  # those who held nothing are never asked for
                del self._statuses[next(iter(self._statuses))]

    def note_gone(self, registry: ProcessTable) -> list[Hand]:
        """Those that are gone: the tasks of the dead are to be buried, the others held nothing and are given back."""
        free = []
        while self._gone:
            hand = self._gone[-1]
            _unpark(hand, ParkedSlots(registry.database))
            held = [one for one in registry.running() if one.owner and one.owner.number == hand.owner]
            self.add(held)
            free += [] if held else [hand]
            if not held and hand.owner is not None:
                remove_files(registry.database.home, hand.owner)
            self._gone.pop()
        return free

    def add(self, held: list[Running]) -> None:
        """Have the fork server end the strays first."""
        if held:
            self._waiting[self._fork_server.sweep()] = held

    def lacks(self, running: Running) -> bool:
        """Whether nobody has said yet that this task's owner is dead."""
        return all(running.claim != one.claim for held in self._waiting.values() for one in held)

    def begin_again(self) -> None:
        """The fork server was replaced: what was asked of the last one is asked of this one."""
        waiting, self._waiting = list(self._waiting.values()), {}
        for held in waiting:
            self.add(held)

    def settle(self, queue: Queue) -> bool:
        """Settle what the dead held, where the strays are gone; whether anything was settled."""
        ready = sorted(self._swept & self._waiting.keys())
        for ticket in ready:
            for running in self._waiting[ticket]:
                pid = running.owner.identity.pid if running.owner else 0
                rescue(queue, running, how(self._statuses.get(pid)))
                self._statuses.pop(pid, None)
            del self._waiting[ticket]
        self._swept.clear()
        return bool(ready)


def _unpark(hand: Hand, slots: ParkedSlots) -> None:
    """Have no launch claim for a worker that is gone; what was claimed for it before is among the running tasks now."""
    if hand.owner is not None and hand.owner in slots.all():
        slots.take_back(hand.owner)
