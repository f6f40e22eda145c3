"""The supervisor's books on its workers: who they are, which slot each has, who is idle. No policy."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ...ipc import clock
from ...ipc.failpoints import failpoint
from ...ipc.lines import LineReader
from ...ipc.machine.identity import Identity
from ...ipc.model.claim import Slot
from ...ipc.store.processes import Process
from ..system.children import Watch, watch, watch_identity

Told = Callable[["Hand", dict[str, Any]], None]
Lost = Callable[["Hand"], None]


@dataclass(eq=False)
class Hand:
    """One worker. `given` while it has a slot and has not said yet whether it found a task there."""

    pid: int | None = None
    owner: int | None = None
    channel: socket.socket | None = None
    watch: Watch | None = None
    slot: Slot | None = None
    given: bool = False
    leaving: bool = False
    reader: LineReader = field(default_factory=LineReader)
    idle_since: float = field(default_factory=clock.monotonic)

    @property
    def adopted(self) -> bool:
        """Whether an earlier supervisor started it: then there is no line to it."""
        return self.channel is None

    @property
    def idle(self) -> bool:
        """Whether it may be given a slot."""
        return self.slot is None and not self.leaving and not self.adopted

    def become_idle(self) -> None:
        """Note that it has no slot from now on."""
        self.slot, self.given, self.idle_since = None, False, clock.monotonic()

    def may_be(self, process: Process) -> bool:
        """Whether this is that worker: it may have claimed before its first word, or its birth, was heard of."""
        return self.owner is None and self.pid in (None, process.identity.pid)

    def tell(self, order: dict[str, Any]) -> None:
        """Send an order. One that died meanwhile is found dead by its watch."""
        if self.channel is None:
            return
        try:
            with failpoint("worker.tell"):
                self.channel.send(json.dumps(order).encode() + b"\n")
        except OSError:
            return


class Crew:
    """All workers of the home."""

    def __init__(self, selector: selectors.BaseSelector, told: Told, lost: Lost) -> None:
        """`told` is called with each message of a worker, `lost` when one has died."""
        self._selector = selector
        self._told = told
        self._lost = lost
        self._hands: list[Hand] = []

    def __iter__(self) -> Iterator[Hand]:
        """Every worker."""
        return iter(list(self._hands))

    def __len__(self) -> int:
        """How many there are, those being started included."""
        return len(self._hands)

    def idle(self) -> Hand | None:
        """One without a task: the one that worked last, so that the others may leave."""
        return max((hand for hand in self._hands if hand.idle), key=lambda hand: hand.idle_since, default=None)

    def given(self, group: str) -> int:
        """How many were given a slot of that group and have not answered yet."""
        return sum(hand.given for hand in self.in_group(group))

    def in_group(self, group: str) -> list[Hand]:
        """Return the workers that have a slot of that group."""
        return [hand for hand in self._hands if hand.slot is not None and hand.slot.group == group]

    def of_owner(self, owner: int) -> Hand | None:
        """The worker with that number in the registry."""
        return next((hand for hand in self._hands if hand.owner == owner), None)

    def expect(self, channel: socket.socket) -> Hand:
        """A worker that is being started, at the other end of `channel`."""
        hand = Hand(channel=channel)
        channel.setblocking(False)
        self._hands.append(hand)
        self._selector.register(channel, selectors.EVENT_READ, lambda _mask: self._listen(hand))
        return hand

    def adopt(self, identity: Identity, owner: int, slot: Slot) -> Hand | None:
        """A worker of an earlier supervisor; None if it is dead."""
        found = watch_identity(identity)
        if found is None:
            return None
        hand = Hand(pid=identity.pid, owner=owner, watch=found, slot=slot)
        self._hands.append(hand)
        self._watch(hand, found)
        return hand

    def born(self, hand: Hand, pid: int) -> None:
        """The process of an expected worker is known. As long as its channel is open, the number is still its own."""
        if hand not in self._hands:  # it died before its birth was told
            return
        found = watch(pid)
        hand.pid = pid
        if found is None:
            self._drop(hand)
            return
        hand.watch = found
        self._watch(hand, found)

    def _watch(self, hand: Hand, found: Watch) -> None:
        self._selector.register(found, selectors.EVENT_READ, lambda _mask: self._drop(hand))

    def _listen(self, hand: Hand) -> None:
        if hand.channel is None or hand.channel.fileno() < 0:  # dropped by an earlier callback of the same wait
            return
        try:
            data = hand.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(hand)
            return
        hand.reader.feed(data)
        for line in hand.reader.lines():
            self._told(hand, json.loads(line))

    def _hang_up(self, hand: Hand) -> None:
        assert hand.channel is not None, "it was just read from"
        self._selector.unregister(hand.channel)
        hand.channel.close()
        hand.leaving = True
        if hand.pid is None:  # it died, or the fork server did, before it was born
            self._drop(hand)

    def _drop(self, hand: Hand) -> None:
        if hand not in self._hands:
            return
        self._listen(hand)  # its last words may say which number it has in the registry
        if hand not in self._hands:
            return
        self._hands.remove(hand)
        if hand.watch is not None:
            self._selector.unregister(hand.watch)
            hand.watch.close()
        if hand.channel is not None and hand.channel.fileno() >= 0:
            self._selector.unregister(hand.channel)
            hand.channel.close()
        self._lost(hand)
