"""The supervisor: gives out slots, has workers made for them, buries those that die. It runs no user code."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipc import clock
from ipc.claim import Slot
from ipc.config import BackgroundConfig
from ipc.database import Database
from ipc.errors import AlreadyRunning, BadConfiguration
from ipc.groups import Groups, Head
from ipc.home import Home
from ipc.identity import Identity
from ipc.lock import Lock, holder
from ipc.queue import Queue
from ipc.registry import Registry, Running
from ipc.settings import apply_configuration
from supervisor.children import Watch, how, watch_identity
from supervisor.concurrency import ConcurrencyManager
from supervisor.crew import Crew, Hand
from supervisor.housekeeping import Housekeeping
from supervisor.messages import say
from supervisor.nurse import Nurse
from supervisor.readiness import notify
from supervisor.recovery import bury, is_dead
from supervisor.role import PARANOIA, Role

#: Seconds beyond `kill_grace_s` after which a worker that has not carried out a verdict is killed.
VERDICT_MARGIN = 1.0

#: What may be written into the supervisor's pipe besides hints.
ORDERS = ("limits", "reload", "down", "down now", "down now requeue")

#: Seconds between two looks whether the flusher has said its farewell; its death wakes us earlier.
FAREWELL_REST = 0.2

#: Seconds between two tries at starting a flusher or a nursery that dies at once: doubled from the first to the last.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 10.0


@dataclass(frozen=True)
class Source:
    """Where the configuration comes from: what reads it, and what starts a nursery."""

    read: Callable[[], tuple[BackgroundConfig, list[Path]]]
    nursery: list[str]


class Supervisor(Role):
    """The one that decides who may run."""

    name = "bb-supervisor"

    def __init__(self, home: Home, source: Source) -> None:
        """Supervise that home."""
        super().__init__(home)
        self._source = source
        self._lock = Lock(home.lock("supervisor"))
        self._crew = Crew(self.selector, self._told, self._lost)
        self._nurse = Nurse(home, self.selector, source.nursery, self._heard_from_nursery)
        self._flusher: Watch | None = None
        self._flusher_backoff = Backoff()
        self._nursery_backoff = Backoff()
        self._births: dict[int, Hand] = {}
        self._gone: list[Hand] = []
        self._dead: dict[int, list[Running]] = {}
        self._swept: set[int] = set()
        self._statuses: dict[int, int] = {}
        self._outside: dict[int, Slot] = {}
        self._overdue: dict[int, float] = {}
        self._heads: dict[str, int] = {}
        self._look_at = 0.0
        self._due: int | None = 0
        self._chained = True
        self._counted = True
        self._orders: list[str] = []
        self._departure: Departure | None = None
        self._hints = b""

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """SIGTERM and the first Ctrl-C go down, the second at once; SIGHUP reads the configuration again."""
        return {signal.SIGTERM: self._asked_down, signal.SIGINT: self._asked_down, signal.SIGHUP: self._hang_up}

    # coming up

    def boot(self) -> None:
        """Lock, configure, find what lives, bury what died; only then claim. Raises AlreadyRunning, BadHome, …"""
        self._config, sources = self._source.read()
        self.home.prepare()
        if not self._lock.acquire():
            raise AlreadyRunning(f"A supervisor (pid {holder(self._lock.path)}) already runs in {self.home.folder}.")
        say("up", pid=os.getpid(), home=self.home.folder)
        self._database = Database(self.home, self._config.durability)
        self._queue = Queue(self._database, self._config)
        self._groups = Groups(self._database, self._config)
        self._registry = Registry(self._database)
        self._housekeeping = Housekeeping(self._database)
        self._clean_registry()
        self._number = self._registry.register("supervisor")
        apply_configuration(self._database, self._config, sources)
        self._groups.configure()
        self._concurrency = ConcurrencyManager(self._groups.limits())
        self._nurse.connect()
        self._adopt_running()
        self._mind_flusher()
        self.listen_for_hints("supervisor", self._hinted)
        self.home.wake("flusher", "configure")
        notify("READY=1")

    def _clean_registry(self) -> None:
        """Strike out the dead that no running task refers to any more."""
        owners = {running.owner.number for running in self._registry.running() if running.owner}
        for role in ("supervisor", "flusher", "worker"):
            for process in self._registry.processes(role):
                if process.number not in owners and process.identity.alive() is False:
                    self._registry.leave(process.number)

    def _adopt_running(self) -> None:
        for running in self._registry.running():
            self._concurrency.hold(running.slot.group, running.slot.number)
            if running.agent == "external":
                self._outside[running.claim] = running.slot
            elif self._adopt(running) is None and is_dead(running):
                self._to_bury([running])

    def _adopt(self, running: Running) -> Hand | None:
        if running.owner is None:
            return None
        hand = self._crew.adopt(running.owner.identity, running.owner.number, running.slot)
        if hand is not None:
            say("adopted", role="worker", pid=hand.pid)
        return hand

    def _mind_flusher(self) -> None:
        """Have a flusher: the one that lives, or a new one."""
        if self._flusher is not None or not self._flusher_backoff.over():
            return
        identity = self._living_flusher()
        found = watch_identity(identity) if identity else None
        if found is not None:
            self._watch_flusher(found)
        else:
            self._flusher_backoff.note()
            self._nurse.spawn("flusher")

    def _watch_flusher(self, found: Watch) -> None:
        self._flusher = found
        self.selector.register(found, 1, lambda _mask: self._flusher_gone())

    def _flusher_gone(self) -> None:
        if self._flusher is not None:
            self.selector.unregister(self._flusher)
            self._flusher.close()
            self._flusher = None

    # a turn

    def turn(self) -> float:
        """Take note of what happened, promote what is due, give out what is free.

        While one rests, what is heard is only noted: all that can fail for now is done here, or again in the next turn.
        """
        counted, self._counted = self._counted, False
        self._obey()
        self._note_gone()
        self._bury_swept()
        if not counted:
            self._recount()
        rest = self._do_turn()
        self._counted = True
        return rest

    def _do_turn(self) -> float:
        if self._departure is None:
            self._mind_nursery()
            self._mind_flusher()
        self._promote()
        if clock.monotonic() >= self._look_at:
            self._look()
        if self._departure is not None:
            return self._depart(self._departure)
        if not self._dead:
            self._give_out()
        self._dismiss_idle()
        return min(self._rest(), self._housekeeping.turn(self._config))

    def farewell(self) -> None:
        """What is held goes with the process."""
        if self._lock.held:
            self._registry.leave(self._number)
            self._database.close()
            notify("STOPPING=1")
            say("down")

    def _rest(self) -> float:
        now = clock.monotonic()
        rests = [PARANOIA, *(at - now for at in self._overdue.values())]
        if self._due is not None:
            rests.append((self._due - clock.now()) / 1000)
        if self._flusher is None:
            rests.append(self._flusher_backoff.rest())
        idle = [hand.idle_since for hand in self._crew if hand.idle]
        if idle:
            rests.append(min(idle) + self._config.worker_idle_s - now)
        return max(0.0, min(rests))

    def _promote(self) -> None:
        """Let those wait no longer whose time has come or whose dependency is over."""
        self._due = self._queue.next_due()
        while self._due is not None and self._due <= clock.now():
            for group in self._queue.promote():
                self._heads.setdefault(group, 0)
            self._due = self._queue.next_due()

    def _look(self) -> None:
        """See the whole truth; hints only make it come sooner."""
        self._look_at = clock.monotonic() + PARANOIA
        self._heads = {group: head for head, group in self._groups.waiting()}
        running = self._registry.running()
        self._release_outside(running)
        self._enforce(running)
        buried = {one.claim for batch in self._dead.values() for one in batch}
        self._to_bury([one for one in running if one.claim not in buried and is_dead(one) and self._crew_lacks(one)])

    def _crew_lacks(self, running: Running) -> bool:
        return running.owner is None or self._crew.of_owner(running.owner.number) is None

    def _release_outside(self, running: list[Running]) -> None:
        """Work done outside has ended when its row says so: nobody of ours tells."""
        claims = {one.claim for one in running}
        for claim in [claim for claim in self._outside if claim not in claims]:
            slot = self._outside.pop(claim)
            self._concurrency.release(slot.group, slot.number)

    def _enforce(self, running: list[Running]) -> None:
        """A worker that has not carried out a verdict in time is killed; its task is settled as every dead worker's."""
        now = clock.monotonic()
        decided = {one.claim: one for one in running if one.verdict is not None and one.owner is not None}
        self._overdue = {claim: self._overdue.get(claim, now + self._patience()) for claim in decided}
        for claim, at in self._overdue.items():
            owner = decided[claim].owner
            if at <= now and owner is not None:
                say("killing", pid=owner.identity.pid, id=decided[claim].id)
                owner.identity.signal(signal.SIGKILL)

    def _patience(self) -> float:
        return self._config.kill_grace_s + VERDICT_MARGIN

    # giving out

    def _give_out(self) -> None:
        """Slots that are free go to the groups that wait, the one with the oldest task first."""
        candidates = dict(self._heads)
        short = False
        while candidates:
            group = min(candidates, key=candidates.__getitem__)
            slot = self._concurrency.acquire(group)
            head = self._groups.head(group, self._crew.given(group) + 1) if slot is not None else None
            if slot is None or head is None or not self._give(Slot(group, slot), head):
                short |= slot is not None and head is not None and not self._has_capacity()
                self._not_given(group, slot, head)
                del candidates[group]
            else:
                candidates[group] = self._heads[group] = head.number
        self._chain(not short)

    def _give(self, slot: Slot, head: Head) -> bool:
        """Give a slot of a group whose first waiting task is `head`; whether there was somebody to give it to."""
        if head.ready <= self._crew.given(slot.group):
            return False
        if head.outside:
            return self._claim_outside(slot)
        if not self._has_capacity():
            return False
        hand = self._crew.idle() or self._new_worker()
        hand.slot, hand.given = slot, True
        hand.tell({"run": [slot.group, slot.number]})
        return True

    def _not_given(self, group: str, slot: int | None, head: Head | None) -> None:
        if slot is not None:
            self._concurrency.release(group, slot)
            if head is None:
                self._heads.pop(group, None)

    def _claim_outside(self, slot: Slot) -> bool:
        claimed = self._queue.claim(slot, None)
        if claimed is not None:
            self._outside[claimed.claim] = slot
            self._due = 0
        return claimed is not None

    def _has_capacity(self) -> bool:
        return self._crew.idle() is not None or len(self._crew) < self._config.max_workers

    def _new_worker(self) -> Hand:
        ours, theirs = socket.socketpair()
        hand = self._crew.expect(ours)
        self._births[self._nurse.spawn("worker", theirs)] = hand
        theirs.close()
        return hand

    def _chain(self, chained: bool) -> None:
        """While workers are short, each comes back after a task: the oldest waiting one is next, whatever its group."""
        if chained != self._chained:
            self._chained = chained
            for hand in self._crew:
                hand.tell({"chained": chained})

    def _dismiss_idle(self) -> None:
        now = clock.monotonic()
        for hand in self._crew:
            if hand.idle and now - hand.idle_since >= self._config.worker_idle_s:
                hand.leaving = True
                hand.tell({"leave": True})

    # what the others say

    def _told(self, hand: Hand, message: dict[str, Any]) -> None:
        if "hello" in message:
            hand.owner = message["hello"]
            hand.tell({"chained": self._chained})
        elif "busy" in message:
            hand.given = False
        elif "idle" in message:
            self._release(hand)
            hand.idle_since = clock.monotonic()

    def _release(self, hand: Hand) -> None:
        if hand.slot is not None:
            self._concurrency.release(hand.slot.group, hand.slot.number)
            self._heads.setdefault(hand.slot.group, 0)
        hand.slot, hand.given = None, False

    def _lost(self, hand: Hand) -> None:
        self._gone.append(hand)

    def _note_gone(self) -> None:
        """A worker died, or left: it kept its slot until now, so that nobody ran beside what it left behind."""
        while self._gone:
            hand = self._gone[-1]
            held = [one for one in self._registry.running() if one.owner and one.owner.number == hand.owner]
            self._to_bury(held)
            if not held:
                self._release(hand)
            self._gone.pop()
            self._look_at = 0.0

    def _to_bury(self, held: list[Running]) -> None:
        """Have the nursery end the strays first."""
        if held:
            self._dead[self._nurse.sweep()] = held

    def _bury_swept(self) -> None:
        """The strays are gone: settle what the dead held."""
        for ticket in sorted(self._swept & self._dead.keys()):
            for running in self._dead[ticket]:
                pid = running.owner.identity.pid if running.owner else 0
                bury(self._queue, running, how(self._statuses.get(pid)))
                self._statuses.pop(pid, None)
            del self._dead[ticket]
            self._recount()
        self._swept.clear()

    def _heard_from_nursery(self, message: dict[str, Any]) -> None:
        if "spawned" in message:
            self._born(message)
        elif message.get("status"):  # of those that left well nothing will be said
            self._statuses[message["died"]] = message["status"]
        elif "swept" in message:
            self._swept.add(message["swept"])

    def _born(self, message: dict[str, Any]) -> None:
        hand = self._births.pop(message["spawned"], None)
        if hand is not None:
            self._crew.born(hand, message["pid"])
        elif message["role"] == "flusher" and self._flusher is None:
            identity = Identity.of(message["pid"])
            found = watch_identity(identity) if identity else None
            if found is not None:
                self._watch_flusher(found)

    def _mind_nursery(self) -> None:
        """A nursery that died takes no worker with it; only what was ordered from it is not coming."""
        if not self._nurse.lost or not self._nursery_backoff.over():
            return
        self._nursery_backoff.note()
        say("nursery_lost")
        self._nurse.connect()
        self._births.clear()
        waiting, self._dead = list(self._dead.values()), {}
        for held in waiting:
            self._to_bury(held)

    # hints and orders

    def _hinted(self, data: bytes) -> None:
        *lines, self._hints = (self._hints + data).split(b"\n")
        for line in set(lines):
            self._hint(line.decode(errors="replace"))

    def _hint(self, line: str) -> None:
        if line.startswith('["') and line.endswith('"]'):
            for group in json.loads(line):
                self._heads.setdefault(group, 0)
        elif line in ORDERS:
            self._orders.append(line)
        else:
            self._look_at = 0.0

    def _hang_up(self) -> None:
        """SIGHUP: the terminal went away, or somebody wants the configuration read again."""
        self._orders.append("down" if _terminal_is_gone() else "reload")

    def _obey(self) -> None:
        while self._orders:
            self._carry_out(self._orders[0])
            self._orders.pop(0)

    def _carry_out(self, order: str) -> None:
        if order == "limits":
            self._concurrency.use(self._groups.limits())
            self._recount()
        elif order == "reload":
            self._reload()
        else:
            self._go_down(now="now" in order, requeue="requeue" in order)

    def _reload(self) -> None:
        try:
            config, sources = self._source.read()
        except BadConfiguration as error:
            say("not_reloaded", why=error)
            return
        self._config = self._queue.config = self._groups.config = config
        self._database.durability = config.durability
        apply_configuration(self._database, config, sources)
        self._groups.configure()
        self._concurrency.use(self._groups.limits())
        self._recount()
        for hand in self._crew:
            hand.tell({"configure": True})
        self.home.wake("flusher", "configure")
        say("reloaded", sources=", ".join(map(str, sources)) or "the defaults")

    def _recount(self) -> None:
        """Count the slots anew from the database, after keys moved into other groups or somebody died."""
        self._concurrency.clear()
        running = self._registry.running()
        for one in running:
            self._concurrency.hold(one.slot.group, one.slot.number)
        self._outside = {one.claim: one.slot for one in running if one.agent == "external"}
        slots = {one.owner.number: one.slot for one in running if one.owner}
        for hand in self._crew:
            if hand.owner in slots:
                hand.slot = slots[hand.owner]
            elif hand.slot is not None and not self._hold(hand.slot):
                hand.slot = None
        self._look_at = 0.0

    def _hold(self, slot: Slot) -> bool:
        """Keep a slot for a worker that is on its way to it, unless a task that was moved has it now."""
        try:
            self._concurrency.hold(slot.group, slot.number)
        except ValueError:
            return False
        return True

    # going down

    def _asked_down(self) -> None:
        again = self._departure is not None or "down" in self._orders
        self._orders.append("down now" if again else "down")

    def _go_down(self, now: bool, requeue: bool) -> None:
        if self._departure is None:
            notify("STOPPING=1")
            self._departure = Departure(clock.monotonic() + self._config.shutdown_grace_s)
            running = sum(hand.slot is not None and not hand.given for hand in self._crew)
            say("stopping", running=running, grace=self._config.shutdown_grace_s)
            for hand in self._crew:
                hand.tell({"leave": True})
        if now and not self._departure.at_once:
            self._departure.at_once = True
            self._departure.deadline = clock.monotonic() + 2 * self._patience()
            self._interrupt_all(requeue)

    def _interrupt_all(self, requeue: bool) -> None:
        for running in self._registry.running():
            if running.owner is not None:
                self._queue.interrupt(running, requeue)
                running.owner.identity.signal(signal.SIGUSR1)
        self._look_at = 0.0

    def _depart(self, departure: Departure) -> float:
        """Wait for the workers, then for the flusher, then go."""
        now = clock.monotonic()
        if len(self._crew) and now < departure.deadline:
            return max(
                0.0, min(departure.deadline, *(self._overdue.values() or [now + PARANOIA]), now + PARANOIA) - now
            )
        if not departure.told:
            departure.told = True
            self._name_the_left()
            self._nurse.dismiss()
        flusher = self._living_flusher()
        if flusher is not None:
            flusher.signal(signal.SIGTERM)
        elif len(self._crew) or self._nurse.lost:  # with workers left the nursery stays, too
            self._nurse.reap()
            self.finish()
        return FAREWELL_REST

    def _living_flusher(self) -> Identity | None:
        pid = holder(self.home.lock("flusher"))
        return Identity.of(pid) if pid else None

    def _name_the_left(self) -> None:
        for running in self._registry.running():
            if running.owner is not None:
                say("left", id=running.id, pid=running.pid)


@dataclass
class Departure:
    """How the supervisor goes down: until when it waits, and whether the trees are ended."""

    deadline: float
    at_once: bool = False
    told: bool = False


class Backoff:
    """When what may die at once is tried again: later each time, and soon again after it has lived a while."""

    def __init__(self) -> None:
        """The first try is at once."""
        self._rest = FIRST_BACKOFF
        self._next = 0.0

    def over(self) -> bool:
        """Whether it may be tried now."""
        return clock.monotonic() >= self._next

    def rest(self) -> float:
        """Seconds until it may be tried."""
        return max(0.0, self._next - clock.monotonic())

    def note(self) -> None:
        """It is tried now."""
        now = clock.monotonic()
        self._rest = FIRST_BACKOFF if now - self._next > LAST_BACKOFF else min(self._rest * 2, LAST_BACKOFF)
        self._next = now + self._rest


def _terminal_is_gone() -> bool:
    """Whether this process had a terminal and lost it: its standard input then answers with an error."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno == 5  # EIO; ENOTTY: it never had one
    return False
