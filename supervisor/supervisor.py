"""The supervisor: gives out slots, has workers made for them, buries those that die. It runs no user code."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ipc import clock
from ..ipc.backoff import RestartTimer
from ..ipc.config.settings import BackgroundConfig
from ..ipc.errors import AlreadyRunning, BadConfiguration
from ..ipc.home import Home
from ..ipc.lines import LineReader, LineTooLong
from ..ipc.machine.identity import Identity
from ..ipc.machine.lock import Lock
from ..ipc.machine.proc import is_stopped
from ..ipc.machine.watchdog import Thaw
from ..ipc.store.applied_config import apply_configuration, note_reload
from ..ipc.store.groups import Groups
from ..ipc.store.processes import Holder, ProcessTable, Running
from ..ipc.store.queue import Queue
from ..ipc.store.sqlite.database import Database, refuse_older_processes
from .execution.process_tree import children_of, take_statuses
from .log import say
from .pool.dispatch import Dispatch
from .pool.fork_server_client import ForkServerClient
from .pool.reaper import Burial
from .pool.recovery import remove_stale_files, rescue_worker
from .pool.workers import Crew, Hand
from .role import Role
from .supervision.maintenance import Housekeeping
from .system.children import Watch, watch_identity
from .system.clock_steps import WallClock
from .system.file_watch import FALLBACK_POLL
from .system.systemd import Watchdog, notify

#: Seconds beyond `kill_grace_s` after which a worker that has not carried out a verdict is killed.
VERDICT_MARGIN = 1.0

#: What may be written into the supervisor's pipe besides hints.
ORDERS = ("limits", "reload", "down", "down now", "down now requeue")

#: What is followed by the command, as JSON, that the supervisor is to become.
RESTART = "restart "

#: Workers that died one after the other before they could report for work, after which the fork server is replaced.
MOST_STILLBORN = 5

#: Seconds until it is looked at what became of an order to the fork server; its answer wakes us earlier.
ORDERED_REST = 0.5

#: Seconds between two tries to apply limits while workers hold tasks; each is asked to publish them.
HELD_REST = 0.005

#: Seconds between two looks whether the flusher has said its farewell; its death wakes us earlier.
FAREWELL_REST = 0.2


@dataclass(frozen=True)
class Source:
    """Where the configuration comes from: what reads it, and what starts a fork server."""

    read: Callable[[], tuple[BackgroundConfig, list[Path]]]
    fork_server: list[str]


@dataclass
class Departure:
    """How the supervisor goes down: until when it waits, and whether the trees are ended."""

    deadline: float
    at_once: bool = False
    requeue: bool = False
    told: bool = False


class Supervisor(Role):
    """The one that decides who may run."""

    name = "bb-supervisor"

    def __init__(self, home: Home, source: Source) -> None:
        """Supervise that home."""
        super().__init__(home)
        self._source = source
        self._lock = Lock(home.lock("supervisor"))
        self._fork_server = ForkServerClient(home, self.selector, source.fork_server, self._heard_from_fork_server)
        self._burial = Burial(self._fork_server)
        self._crew = Crew(self.selector, self._told, self._burial.lost)
        self._births: dict[int, Hand] = {}
        self._flusher: Watch | None = None
        self._flusher_backoff, self._fork_server_backoff = RestartTimer(), RestartTimer()
        self._hiring_backoff = RestartTimer()
        self._stillborn = 0
        self._fork_server_thaw, self._flusher_thaw = Thaw(), Thaw()
        self._overdue: dict[int, float] = {}
        self._silent: dict[Holder, float] = {}
        self._look_at = 0.0
        self._seen = -1
        self._due: int | None = 0
        self._counted = self._limits_applied = self._recovered = False
        self._orders: list[str] = []
        self._hints = LineReader()
        self._departure: Departure | None = None
        self._watchdog = Watchdog()
        self._wall = WallClock()
        #: The command that this process is to become, once it has let go of everything.
        self.successor: list[str] | None = None

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """SIGTERM and the first Ctrl-C go down, the second at once; SIGHUP reads the configuration again."""
        return {signal.SIGTERM: self._asked_down, signal.SIGINT: self._asked_down, signal.SIGHUP: self._hang_up}

    # coming up

    def boot(self) -> None:
        """Lock, configure, find what lives, bury what died; only then claim. Raises AlreadyRunning, BadHome, …"""
        self._config, sources = self._source.read()
        self.home.prepare()
        if not self._lock.acquire():
            refuse_older_processes(self.home)
            raise AlreadyRunning(
                f"A supervisor (pid {self.presence.holder('supervisor')}) already runs in {self.home.folder}."
            )
        say("up", pid=os.getpid(), home=self.home.folder)
        self._open()
        self._apply(sources)
        self._fork_server.connect()
        self._adopt_running()
        self._replace_flusher()
        self._mind_flusher()
        self.listen_for_hints("supervisor", self._hinted)
        notify("READY=1")

    def _open(self) -> None:
        self._database = Database(self.home, self._config.durability)
        self._queue = Queue(self._database, self._config)
        self._groups = Groups(self._database, self._config)
        self._registry = ProcessTable(self._database)
        self._housekeeping = Housekeeping(self._database)
        self._dispatch = Dispatch(self._crew, self._groups, self._queue, self._hire)
        self._registry.strike_out_dead()
        remove_stale_files(self.home, {process.number for process in self._registry.processes("worker")})
        self._number = self._registry.register("supervisor")

    def _apply(self, sources: list[Path]) -> None:
        """Make the configuration that was read the one in force."""
        self._queue.config = self._groups.config = self._config
        self._database.durability = self._config.durability
        apply_configuration(self._database, self._config, sources)
        self._limits_applied = not self._groups.configure()
        self._counted = False
        for hand in self._crew:
            hand.tell({"configure": True})
        self.home.wake("flusher", "configure")

    def _adopt_running(self) -> None:
        for running in self._registry.running():
            if not self._adopt(running) and running.is_orphaned(self.presence):
                self._burial.add([running])

    def _adopt(self, running: Running) -> bool:
        if running.owner is None:
            return False
        hand = self._crew.adopt(running.owner.identity, running.owner.number, running.slot)
        if hand is not None:
            say("adopted", role="worker", pid=hand.pid)
        return hand is not None

    # a turn

    def turn(self) -> float:
        """Take note of what happened, promote what is due, give out what is free.

        While one rests, what is heard is only noted: all that can fail for now is done here, or again in the next turn.
        """
        self._watchdog.feed()
        if self._is_displaced():
            return 0.0
        self._obey()
        if self.successor is not None:
            return 0.0
        self._mind_clock()
        self._bury()
        self._apply_limits()
        if not self._counted:
            self._recount()
        self._counted = False  # until this turn is over: one that fails half-way may leave the slots miscounted
        rest = self._do_turn()
        self._counted = True
        return rest

    def _apply_limits(self) -> None:
        """Regroup as configured, once no worker holds a task."""
        if not self._limits_applied and not self._groups.configure():
            self._limits_applied, self._counted = True, False

    def _mind_clock(self) -> None:
        """Somebody set the wall clock: nothing comes earlier or later for it."""
        step = self._wall.look()
        if step is not None:
            say("clock_set", by=step.by / 1000)
            self._queue.shift(*step)
            self._wall.follow(step)
            self._due = 0

    def _is_displaced(self) -> bool:
        """The home was deleted and made anew: whoever supervises it now, it is not this one."""
        if not self._lock.held:
            say("displaced", home=self.home.folder)
            self.finish()
        return self.done

    def _do_turn(self) -> float:
        self._thaw_fork_server()
        if self._departure is None:
            self._mind_fork_server()
            self._mind_flusher()
        if clock.monotonic() >= self._look_at:
            self._look_unless_quiet()
        self._promote()
        if self._departure is not None:
            return self._depart(self._departure)
        self._recovered |= not self._burial
        if self._recovered and self._dispatch.give_out(self._most_workers()):
            self._due = 0  # work outside may have a timeout
        self._dismiss_idle()
        return min(self._rest(), self._housekeeping.turn(self._config, self._wall.forward))

    def farewell(self) -> None:
        """What is held goes with the process."""
        if self._lock.held:
            self._registry.leave(self._number)
            self._database.close()
            if self.successor is None:
                notify("STOPPING=1")
                say("down")

    def _bury(self) -> None:
        for hand in self._burial.note_gone(self._registry):
            self._dispatch.free(hand)
            self._note_stillborn(hand)
            self._look_at = 0.0
        if self._burial.settle(self._queue):
            self._counted = False

    def _note_stillborn(self, hand: Hand) -> None:
        """Count a worker that died before it reported; after several, replace the fork server."""
        self._stillborn = 0 if hand.owner is not None else self._stillborn + 1
        if self._stillborn:
            self._hiring_backoff.note_start()
        if self._stillborn >= MOST_STILLBORN:
            self._stillborn = 0
            self._end_fork_server()

    def _end_fork_server(self) -> None:
        process = self.presence.process("forkserver")
        if process is not None:
            process.signal(signal.SIGKILL)

    def _thaw_fork_server(self) -> None:
        """One that was stopped while something was ordered of it is continued, and in the end replaced."""
        asked = bool(self._births or self._burial or self._departure)
        self._fork_server_thaw.look(self.presence.holder("forkserver") if asked else None)

    def _recount(self) -> None:
        self._dispatch.recount(self._registry.running())
        self._look_at = 0.0

    def _most_workers(self) -> int:
        most = self._config.max_workers
        return most if self._hiring_backoff.is_due() else min(len(self._crew), most)

    def _rest(self) -> float:
        now = clock.monotonic()
        if self._is_waiting():
            self._look_at = min(self._look_at, now + FALLBACK_POLL)
        deadlines = (*self._overdue.values(), *self._silent.values())
        self._look_at = min((self._look_at, *deadlines))
        rests = [self._look_at - now, self._watchdog.rest()]
        if self._due is not None:
            rests.append((self._due - clock.now()) / 1000)
        if self._births or self._burial:
            rests.append(ORDERED_REST)
        if not self._limits_applied:
            rests.append(HELD_REST)
        if self._departure is None:
            rests.append(self._dispatch.look_at - now)
        backoffs = [self._hiring_backoff] + [self._flusher_backoff] * (self._flusher is None)
        backoffs += [self._fork_server_backoff] * self._fork_server.lost
        rests += [backoff.rest() for backoff in backoffs if not backoff.is_due()]
        rests += [hand.idle_since + self._config.worker_idle_s - now for hand in self._crew if hand.idle]
        return max(0.0, min(rests))

    def _is_waiting(self) -> bool:
        """Return True if a change may come that is not a commit: a task's time, a worker's death, a stopped flusher."""
        return self._due is not None or self._flusher_thaw.suspects or self._dispatch.any_at_work()

    def _promote(self) -> None:
        """Let those wait no longer whose time has come or whose dependency is over."""
        while self._due is not None and self._due <= clock.now():
            self._due = self._queue.next_due()
            if self._due is not None and self._due <= clock.now():
                self._dispatch.hint(*self._queue.promote())

    def _look_unless_quiet(self) -> None:
        """Nobody hinted at anything, nobody works, nobody else wrote: then nothing can be new."""
        self._thaw_flusher()
        version = self._database.changed()
        asked = self._look_at == 0.0
        if asked or version != self._seen or self._dispatch.any_at_work():
            self._seen = version
            self._look()
        else:
            self._schedule_look()

    def _look(self) -> None:
        """See the whole truth; hints only make it come sooner."""
        self._schedule_look()
        take_statuses()  # of a fork server that this process started before it became another program
        self._due = 0
        running = self._registry.running()
        self._dispatch.look(running)
        self._enforce(running)
        lost = [
            one
            for one in running
            if one.is_orphaned(self.presence) and self._burial.lacks(one) and self._crew_lacks(one)
        ]
        self._burial.add(lost)
        self._look_at_holders(running)

    def _schedule_look(self) -> None:
        self._look_at = clock.monotonic() + self.file_watch.rest()

    def database_changed(self) -> None:
        """Look at the database in the turn that follows."""
        self._look_at = min(self._look_at, clock.monotonic())

    def _crew_lacks(self, running: Running) -> bool:
        return running.owner is None or self._crew.of_owner(running.owner.number) is None

    def _look_at_holders(self, running: list[Running]) -> None:
        """A worker that does not publish what it holds, though asked to, is killed; what a dead one held is settled."""
        owners = {one.owner.number for one in running if one.owner is not None}
        due = clock.monotonic() + self._patience()
        silent = {}
        for holder_ in self._registry.holders():
            process = holder_.process
            rescued = process.number in owners or self._crew.of_owner(process.number) is not None
            if not rescued and self.presence.is_dead(process.identity):
                rescue_worker(self._queue, process, "unseen")
            elif holder_.requested is not None:  # of a worker that has published since, that time is a later one
                silent[holder_] = self._silent.get(holder_, due)
        self._silent = silent
        self._kill_silent()

    def _kill_silent(self) -> None:
        now = clock.monotonic()
        for holder_ in [one for one, at in self._silent.items() if at <= now]:
            say("silent", pid=holder_.process.identity.pid)
            holder_.process.identity.signal(signal.SIGKILL)
            self._silent[holder_] = now + VERDICT_MARGIN  # until it is dead

    def _enforce(self, running: list[Running]) -> None:
        """A worker that has not carried out a verdict in time is killed; its task is settled as every dead worker's."""
        now = clock.monotonic()
        decided = {one.claim: one for one in running if one.verdict is not None and one.owner is not None}
        self._overdue = {claim: self._overdue.get(claim, now + self._patience()) for claim in decided}
        for claim in [claim for claim, at in self._overdue.items() if at <= now]:
            owner = decided[claim].owner
            assert owner is not None, "those without an owner are left out"
            say("killing", pid=owner.identity.pid, id=decided[claim].id)
            owner.identity.signal(signal.SIGKILL)
            self._overdue[claim] = now + VERDICT_MARGIN  # until it is dead

    def _patience(self) -> float:
        return self._config.kill_grace_s + VERDICT_MARGIN

    # workers

    def _hire(self) -> Hand:
        ours, theirs = socket.socketpair()
        hand = self._crew.expect(ours)
        self._births[self._fork_server.spawn("worker", theirs)] = hand
        theirs.close()
        return hand

    def _dismiss_idle(self) -> None:
        now = clock.monotonic()
        for hand in self._crew:
            if hand.idle and now - hand.idle_since >= self._config.worker_idle_s:
                hand.leaving = True
                hand.tell({"leave": True})

    def _told(self, hand: Hand, message: dict[str, Any]) -> None:
        if "hello" in message:
            hand.owner = message["hello"]
            self._dispatch.welcome(hand)
        elif "busy" in message:
            hand.given = False
        elif "idle" in message:
            self._dispatch.free(hand)

    # fork server and flusher

    def _heard_from_fork_server(self, message: dict[str, Any]) -> None:
        if "spawned" in message:
            self._born(message)
        elif "stopped" in message:
            self.database_changed()
        else:
            self._burial.heard(message)

    def _born(self, message: dict[str, Any]) -> None:
        hand = self._births.pop(message["spawned"], None)
        if hand is not None:
            self._crew.born(hand, message["pid"])
        elif message["role"] == "flusher":
            self._watch_flusher(Identity.of(message["pid"]))

    def _mind_fork_server(self) -> None:
        """A fork server that died takes no worker with it; only what was ordered from it is not coming."""
        if not self._fork_server.lost or not self._fork_server_backoff.is_due():
            return
        self._fork_server_backoff.note_start()
        say("fork_server_lost")
        self._fork_server.connect()
        self._births.clear()
        self._burial.begin_again()

    def _replace_flusher(self) -> None:
        """One that an earlier fork server made may have other code than this supervisor."""
        fork_server, flusher = self.presence.holder("forkserver"), self._living_flusher()
        if fork_server is not None and flusher is not None and flusher.pid not in children_of(fork_server):
            flusher.signal(signal.SIGTERM)

    def _mind_flusher(self) -> None:
        """Have a flusher: the one that lives, or a new one."""
        if self._flusher is None and self._flusher_backoff.is_due():
            self._watch_flusher(self._living_flusher())
            if self._flusher is None:
                self._flusher_backoff.note_start()
                self._fork_server.spawn("flusher")

    def _thaw_flusher(self) -> None:
        """One that was stopped, and stays so, tells nobody anything: it is continued, and in the end replaced."""
        pid = self.presence.holder("flusher")
        self._flusher_thaw.look(pid if pid is not None and is_stopped(pid) else None)

    def _living_flusher(self) -> Identity | None:
        return self.presence.process("flusher")

    def _watch_flusher(self, identity: Identity | None) -> None:
        found = watch_identity(identity) if identity and self._flusher is None else None
        if found is not None:
            self._flusher = found
            self.selector.register(found, selectors.EVENT_READ, lambda _mask: self._flusher_gone())

    def _flusher_gone(self) -> None:
        if self._flusher is not None:
            self.selector.unregister(self._flusher)
            self._flusher.close()
            self._flusher = None
            self._fork_server.sweep()  # a command of on_batch may be left, which the next flusher starts again

    # hints and orders

    def _hinted(self, data: bytes) -> None:
        self._hints.feed(data)
        try:
            lines = list(self._hints.lines())
        except LineTooLong:  # no process of ours writes such a line
            self._hints, lines = LineReader(), [b""]
        for line in dict.fromkeys(lines):
            self._hint(line.decode(errors="replace"))

    def _hint(self, line: str) -> None:
        if line.startswith('["') and line.endswith('"]'):
            self._dispatch.hint(*json.loads(line))
            self._due = 0
        elif line in ORDERS or line.startswith(RESTART):
            self._orders.append(line)
        else:
            self._look_at = 0.0

    def _hang_up(self) -> None:
        """SIGHUP: the terminal went away, or somebody wants the configuration read again."""
        self._orders.append("down" if _terminal_is_gone() else "reload")

    def _asked_down(self) -> None:
        again = self._departure is not None or "down" in self._orders
        self._orders.append("down now" if again else "down")

    def _obey(self) -> None:
        while self._orders:
            self._carry_out(self._orders[0])
            self._orders.pop(0)

    def _carry_out(self, order: str) -> None:
        if order == "limits":
            self._counted = False
        elif order == "reload":
            self._reload()
        elif order.startswith(RESTART):
            self._hand_over(json.loads(order.removeprefix(RESTART)))
        else:
            self._go_down(now="now" in order, requeue="requeue" in order)

    def _reload(self) -> None:
        try:
            self._config, sources = self._source.read()
        except BadConfiguration as error:
            say("not_reloaded", why=error)
            note_reload(self._database, str(error))
            return
        self._apply(sources)
        note_reload(self._database, None)
        say("reloaded", sources=", ".join(map(str, sources)) or "the defaults")

    def _hand_over(self, successor: list[str]) -> None:
        """Let go of everything as it runs: this process becomes a new supervisor, with a fork server of its own."""
        if self._departure is None:
            say("handing_over")
            notify("RELOADING=1")
            self._fork_server.retire()
            self.successor = successor
            self.finish()

    # going down

    def _go_down(self, now: bool, requeue: bool) -> None:
        if self._departure is None:
            self._departure = self._start_leaving()
        if now and not self._departure.at_once:
            self._departure.at_once, self._departure.requeue = True, requeue
            self._departure.deadline = clock.monotonic() + 2 * self._patience()

    def _start_leaving(self) -> Departure:
        notify("STOPPING=1")
        self._dispatch.unpark_all()
        running = sum(hand.slot is not None and not hand.given for hand in self._crew)
        say("stopping", running=running, grace=self._config.shutdown_grace_s)
        for hand in self._crew:
            hand.tell({"leave": True})
        return Departure(clock.monotonic() + self._config.shutdown_grace_s)

    def _interrupt_all(self, requeue: bool) -> None:
        for running in self._registry.running():
            if running.owner is not None and running.verdict is None:
                self._queue.interrupt(running, requeue)
                running.owner.identity.signal(signal.SIGUSR1)
                self._look_at = 0.0

    def _depart(self, departure: Departure) -> float:
        """Wait for the workers, then for the flusher, then go."""
        now = clock.monotonic()
        if departure.at_once:
            self._interrupt_all(departure.requeue)  # what a worker held may have become running since
        if len(self._crew) and now < departure.deadline:
            return max(0.0, min(departure.deadline - now, self._rest()))
        if not departure.told:
            departure.told = True
            self._name_the_left()
            self._fork_server.dismiss()
        self._thaw_flusher()
        flusher = self._living_flusher()
        if flusher is not None:
            flusher.signal(signal.SIGTERM)
        elif len(self._crew) or self._fork_server.lost:  # with workers left the fork server stays, too
            self._fork_server.reap()
            self.finish()
        return FAREWELL_REST

    def _name_the_left(self) -> None:
        for running in self._registry.running():
            if running.owner is not None:
                say("left", id=running.id, pid=running.pid)


def _terminal_is_gone() -> bool:
    """Whether this process had a terminal and lost it: its standard input then answers with an error."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno == 5  # EIO; ENOTTY: it never had one
    return False
