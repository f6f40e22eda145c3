"""The supervisor assigns slots, orders workers and rescues the tasks of dead workers. It runs no user code."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..ipc import clock
from ..ipc.errors import AlreadyRunning, BadConfiguration
from ..ipc.home import Home
from ..ipc.machine.home_registry import register
from ..ipc.machine.identity import Identity
from ..ipc.machine.lock import Lock
from ..ipc.machine.presence import take_role
from ..ipc.store import open_store, refuse_older_processes
from ..ipc.store.applied_config import apply_configuration, record_reload
from ..ipc.store.groups import Groups
from ..ipc.store.processes import deregister_dead
from ..ipc.store.queue import Queue
from ..ipc.store.values import Running
from .execution.process_tree import take_statuses
from .integrations.people import prepare_cursors
from .log import log
from .pool.dispatch import Dispatch
from .pool.fork_server_client import ForkServerClient
from .pool.reaper import Reaper
from .pool.recovery import remove_stale_files, rescue_dead_holders
from .pool.shared_limits import SharedLimits
from .pool.slot_keeper import SlotKeeper
from .pool.spawner import Spawner
from .pool.workers import WorkerHandle, Workers
from .role import Role
from .supervision.flusher_watch import FlusherWatch
from .supervision.maintenance import Maintenance
from .supervision.orders import RESTART, Orders
from .supervision.shutdown import Shutdown
from .supervision.source import Source
from .supervision.unresponsive import UnresponsiveWorkers, time_limit
from .system.clock_steps import ClockSteps
from .system.file_watch import FALLBACK_POLL
from .system.systemd import KeepAlive, notify

#: Seconds between two checks of the orders to the fork server. An answer wakes the supervisor earlier.
FORK_SERVER_POLL = 0.5

#: Seconds between two checks for the end of the flusher and the fork server. Their death wakes the supervisor earlier.
SHUTDOWN_POLL = 0.2

#: Seconds between two tries to apply limits while workers hold tasks. Each try asks them to publish the tasks.
LIMITS_POLL = 0.005


class Supervisor(Role):
    """The only process that assigns slots. A lock of the home excludes a second supervisor."""

    name = "bb-supervisor"

    def __init__(self, home: Home, source: Source) -> None:
        super().__init__(home)
        self._source = source
        self._lock = Lock(home.lock("supervisor"))
        self._fork_server = ForkServerClient(home, self.selector, source.fork_server, self._receive_from_fork_server)
        self._reaper = Reaper(self._fork_server)
        self._workers = Workers(self.selector, self._receive_from_worker, self._note_gone)
        self._slot_keeper = SlotKeeper(self._fork_server, self._workers)
        self._shared = SharedLimits(home, self.selector)
        self._spawner = Spawner(self._fork_server, self._workers, self._shared)
        self._flusher = FlusherWatch(self.presence, self.selector, self._fork_server)
        self._orders = Orders(self._hint_groups, self._look_soon)
        self._unresponsive = UnresponsiveWorkers()
        self._keep_alive = KeepAlive()
        self._clock_steps = ClockSteps()
        #: The time of the next look at the database (seconds, monotonic), and the database's version at the last look.
        self._look_at = 0.0
        self._seen = -1
        #: The end of the next delay or timeout (milliseconds since 1970), or None.
        self._due: int | None = 0
        self._counted = self._limits_applied = self._recovered = False
        #: The command with which this process replaces its program once it has shut down.
        self.successor: list[str] | None = None

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """Shut down on SIGTERM and Ctrl-C, at once on a second signal. Read the configuration again on SIGHUP."""
        return {signal.SIGTERM: self._down, signal.SIGINT: self._down, signal.SIGHUP: self._orders.reload_or_down}

    # boot

    def boot(self) -> None:
        """Lock, configure, adopt living workers, rescue the tasks of dead ones. Raises AlreadyRunning, BadHome, …"""
        self._config, sources = self._source.read()
        self.home.prepare()
        if not take_role(self.home, self._lock):
            refuse_older_processes(self.home)
            pid = self.presence.holder("supervisor")
            raise AlreadyRunning(f"A supervisor (pid {pid}) already runs in {self.home.folder}.")
        log("started", pid=os.getpid(), home=self.home.folder)
        register(self.home)
        self._open()
        self._apply(sources)
        self._fork_server.connect()
        self._adopt_running()
        prepare_cursors(self._store)
        self._flusher.start()
        self.listen_for_hints("supervisor", self._orders.receive)
        notify("READY=1")

    def _open(self) -> None:
        self._store = open_store(self.home, self._config, "supervisor")
        self._queue = Queue(self._store, self._config)
        self._groups = Groups(self._store, self._config)
        self._hosts = self._store.hosts
        self._maintenance = Maintenance(self._store)
        self._dispatch = Dispatch(self._workers, self._groups, self._queue, self._spawner.spawn_worker, self._shared)
        self._shutdown = Shutdown(self._queue, self._workers, self._fork_server, self._flusher)
        deregister_dead(self._store)
        remove_stale_files(self.home, {process.number for process in self._hosts.processes("worker")})
        self._number = self._hosts.register("supervisor", Identity.mine())

    def _apply(self, sources: list[Path]) -> None:
        """Apply the configuration that was read."""
        self._queue.config = self._config
        self._groups = Groups(self._store, self._config)
        self._store.durability = self._config.durability
        apply_configuration(self._store, self._config, sources)
        self._shared.configure(self._config.shared_limits)
        self._limits_applied = not self._groups.configure()
        self._counted = False
        for worker in self._workers:
            worker.order({"configure": True})
        self.home.wake("flusher", "configure")

    def _adopt_running(self) -> None:
        for running in self._hosts.running():
            if not self._workers.adopt_owner(running) and running.is_orphaned(self.presence):
                self._reaper.add([running])

    # a turn

    def turn(self) -> float:
        """Record what happened, promote tasks that are due, and assign free slots.

        Callbacks between two turns only record events. Work that can fail is done here, and tried again next turn.
        """
        self._keep_alive.ping_if_due()
        if self._is_displaced():
            return 0.0
        self._orders.execute_all(self._execute)
        if self.successor is not None:
            return 0.0
        self._follow_clock()
        self._rescue()
        self._apply_limits()
        if not self._counted:
            self._recount()
        self._counted = False  # until the end of this turn, because a turn that fails may leave the slots miscounted
        rest = self._do_turn()
        self._counted = True
        return rest

    def _do_turn(self) -> float:
        self._fork_server.check_stopped(self._awaits_fork_server() or self._shutdown.has_begun)
        if not self._shutdown.has_begun:
            self._restore_roles()
        if clock.monotonic() >= self._look_at:
            self._look_unless_quiet()
        self._promote()
        if self._shutdown.has_begun:
            return self._shut_down()
        self._recovered |= not self._reaper.is_waiting
        if self._recovered and self._dispatch.assign_slots(self._spawner.limit(self._config.max_workers)):
            self._due = 0  # external work may have a timeout
        self._workers.dismiss_idle(self._config.worker_idle_s)
        return min(self._rest(), self._maintenance.turn(self._config, self._clock_steps.forward))

    def _is_displaced(self) -> bool:
        """Finish if the home was created again, for another supervisor, or was moved, and a shutdown is ordered."""
        if not self._lock.held:
            log("displaced", home=self.home.folder)
            self.finish()
        elif self._orders.is_down and not self.home.id:
            log("home_lost", home=self.home.folder)
            self.finish()
        return self.done

    def _follow_clock(self) -> None:
        """Move all times by a step of the wall clock, so that delays and timeouts keep their length."""
        step = self._clock_steps.check()
        if step is not None:
            log("clock_set", by=step.by / 1000)
            self._queue.store.queue.shift(*step)
            self._clock_steps.confirm(step)
            self._due = 0

    def _rescue(self) -> None:
        for worker in self._reaper.take_gone(self._store):
            self._dispatch.free(worker)
            self._spawner.note_gone(worker)
            self._look_soon()
        if self._reaper.rescue_ready(self._queue):
            self._counted = False

    def _apply_limits(self) -> None:
        """Apply the configured limit groups, once no worker holds a task."""
        if not self._limits_applied and not self._groups.configure():
            self._limits_applied, self._counted = True, False

    def _recount(self) -> None:
        self._dispatch.recount(self._hosts.running())
        self._look_soon()

    def _awaits_fork_server(self) -> bool:
        return self._spawner.is_waiting or self._reaper.is_waiting

    def _restore_roles(self) -> None:
        if self._fork_server.reconnect():
            self._spawner.forget()
            self._reaper.resubmit()
            self._slot_keeper.share()
        self._flusher.ensure_running()

    def _promote(self) -> None:
        """Make tasks ready when their delay is over or their dependencies have ended. End tasks that have expired."""
        while self._due is not None and self._due <= clock.now():
            self._due = self._queue.store.queue.next_due()
            if self._due is not None and self._due <= clock.now():
                self._dispatch.hint(*self._queue.promote())

    def _rest(self) -> float:
        now = clock.monotonic()
        if self._is_waiting():
            self._look_at = min(self._look_at, now + FALLBACK_POLL)
        self._look_at = min((self._look_at, *self._unresponsive.deadlines()))
        rests = [self._look_at - now, self._keep_alive.rest()]
        rests += [role.rest() for role in (self._spawner, self._flusher, self._fork_server, self._shared)]
        if self._due is not None:
            rests.append((self._due - clock.now()) / 1000)
        if self._awaits_fork_server():
            rests.append(FORK_SERVER_POLL)
        if not self._limits_applied:
            rests.append(LIMITS_POLL)
        if not self._shutdown.has_begun:
            rests.append(self._dispatch.look_at - now)
        rests += [worker.idle_since + self._config.worker_idle_s - now for worker in self._workers if worker.idle]
        return max(0.0, min(rests))

    def _is_waiting(self) -> bool:
        """Return True if an event other than a commit is possible: a timeout, a worker's death or a stopped flusher."""
        return self._due is not None or self._flusher.may_be_stopped or self._dispatch.any_at_work()

    # a look at the database

    def database_changed(self) -> None:
        """Look at the database in the turn that follows."""
        self._look_at = min(self._look_at, clock.monotonic())

    def _look_soon(self) -> None:
        """Look at the database in the turn that follows, even if nothing seems to have changed."""
        self._look_at = 0.0

    def _look_unless_quiet(self) -> None:
        """Look at the database if there was a hint, a worker is at work, or another process has committed."""
        self._flusher.check_stopped()
        version = self._store.changed()
        is_hinted = self._look_at == 0.0
        if is_hinted or version != self._seen or self._dispatch.any_at_work():
            self._seen = version
            self._look()
        else:
            self._schedule_look()

    def _look(self) -> None:
        """Read the whole state from the database. Hints only make this happen sooner."""
        self._schedule_look()
        take_statuses()  # reaps a fork server that this process started before it replaced its program
        self._due = 0
        slots_of_dead = self._slot_keeper.of_dead()
        running = self._hosts.running()
        self._dispatch.look(running)
        self._unresponsive.check_verdicts(running, time_limit(self._config))
        self._reaper.add([task for task in running if self._is_unnoticed(task)])
        self._check_holders(running)
        self._slot_keeper.free(slots_of_dead, running)

    def _schedule_look(self) -> None:
        self._look_at = clock.monotonic() + self.file_watch.rest()

    def _is_unnoticed(self, running: Running) -> bool:
        """Return True if a task's worker is dead, and neither the reaper nor a watch has noticed that."""
        is_watched = running.owner is not None and self._has_worker(running.owner.number)
        return running.is_orphaned(self.presence) and running not in self._reaper and not is_watched

    def _has_worker(self, owner: int) -> bool:
        return self._workers.of_owner(owner) is not None

    def _check_holders(self, running: list[Running]) -> None:
        """Rescue the tasks that dead workers held. Kill living workers that do not publish when requested."""
        owners = {task.owner.number for task in running if task.owner is not None}
        holders = rescue_dead_holders(self._queue, lambda number: number in owners or self._has_worker(number))
        self._unresponsive.check_requests(holders, time_limit(self._config))

    # messages

    def _receive_from_worker(self, worker: WorkerHandle, message: dict[str, Any]) -> None:
        if "hello" in message:
            worker.owner = message["hello"]
            self._dispatch.brief(worker)
        elif "busy" in message:
            worker.assigned = False
        elif "idle" in message:
            self._dispatch.free(worker)

    def _note_gone(self, worker: WorkerHandle) -> None:
        self._slot_keeper.keep(worker)
        self._reaper.add_gone(worker)

    def _receive_from_fork_server(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "holds" in message:
            self._slot_keeper.receive(message["holds"], descriptors)
            self._look_soon()
        elif "spawned" in message:
            self._note_spawned(message)
        elif "refused" in message:
            self._spawner.refused(message["refused"], message["why"])
        elif "stopped" in message:
            self.database_changed()
        else:
            self._reaper.receive(message)
            if self._slot_keeper.keeps_any:
                self._look_soon()

    def _note_spawned(self, message: dict[str, Any]) -> None:
        is_worker = self._spawner.spawned(message["spawned"], message["pid"])
        if not is_worker and message["role"] == "flusher":
            self._flusher.watch(Identity.of(message["pid"]))

    def _hint_groups(self, *groups: str) -> None:
        self._dispatch.hint(*groups)
        self._due = 0

    # orders

    def _down(self) -> None:
        self._orders.down(self._shutdown.has_begun)

    def _execute(self, order: str) -> None:
        if order == "limits":
            self._counted = False
        elif order == "reload":
            self._reload()
        elif order.startswith(RESTART):
            self._restart(json.loads(order.removeprefix(RESTART)))
        else:
            self._shutdown.begin(self._dispatch)
            if order != "down":
                self._shutdown.end_trees(requeue=order.endswith("requeue"))

    def _reload(self) -> None:
        try:
            self._config, sources = self._source.read()
        except BadConfiguration as error:
            log("not_reloaded", why=error)
            record_reload(self._store, str(error))
            return
        self._apply(sources)
        record_reload(self._store, None)
        log("reloaded", sources=", ".join(map(str, sources)) or "the defaults")

    def _restart(self, successor: list[str]) -> None:
        """Shut down only this process, which then becomes a new supervisor with its own fork server."""
        if not self._shutdown.has_begun:
            log("restarting")
            notify("RELOADING=1")
            self._fork_server.retire()
            self.successor = successor
            self.finish()

    def _shut_down(self) -> float:
        """Do the next steps of the shutdown. Return the seconds until further steps are due."""
        self._shutdown.interrupt_tasks(self._look_soon)
        rest = self._shutdown.rest()
        if rest is not None:
            return min(rest, self._rest())
        if self._shutdown.stop_roles():
            self.finish()
        return SHUTDOWN_POLL

    def shutdown(self) -> None:
        """Deregister and close the database. The lock is released by the exit."""
        self._shared.close()
        if self._lock.held:
            self._hosts.deregister(self._number)
            self._store.close()
            if self.successor is None:
                self.home.remove_shortcut()
                notify("STOPPING=1")
                log("stopped")
