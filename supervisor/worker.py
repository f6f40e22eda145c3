"""The worker runs tasks in the slots that the supervisor assigns to it."""

from __future__ import annotations

import os
import select
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..ipc import clock
from ..ipc.failpoints import failpoint
from ..ipc.home import Home
from ..ipc.machine.identity import Identity
from ..ipc.machine.proc import watch_own_children
from ..ipc.machine.shared_slots import SharedSlot, wake_waiting
from ..ipc.model.claim import Slot
from ..ipc.store import open_store
from ..ipc.store.applied_config import applied_configuration
from ..ipc.store.queue import Queue
from .execution import run
from .execution.journal import Journal
from .execution.output_files import STREAMS, runner_prefix
from .execution.plan import Environments, inherited
from .execution.runner_pool import LazyRunner, Runner
from .execution.series import CommandTools
from .log import log_trouble
from .pool.parking import Parking
from .pool.publisher import Publisher
from .pool.supervisor_line import SupervisorLine
from .pool.task_loop import TaskLoop, Tools
from .role import TROUBLE_REST, Role, become_subreaper, do_nothing, keep_memory


class Worker(Role):
    """Runs tasks until the supervisor no longer needs it. If the supervisor dies, it exits after its task."""

    name = "bb-worker"
    outlasts_shortages = False  # its loop waits where a task can be started again; elsewhere its task is rescued

    def __init__(self, home: Home, channel: socket.socket, slot: SharedSlot | None = None) -> None:
        """Use `channel` to communicate with the supervisor, which has the other end, and takes the shared slot."""
        super().__init__(home)
        self._shared_slot = slot
        self._line = SupervisorLine(channel, self._execute, self._lose_supervisor)
        self._configured = False

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """On SIGUSR1, publish and look for a verdict. On SIGTERM, exit after the task. SIGIO reports a broken lease."""
        return {
            signal.SIGTERM: self._leave,
            signal.SIGINT: self._leave,
            signal.SIGUSR1: self._request,
            signal.SIGCHLD: do_nothing,
            signal.SIGIO: do_nothing,
        }

    def boot(self) -> None:
        """Open the database, prepare to run tasks and report to the supervisor."""
        become_subreaper()
        keep_memory()
        self._store = open_store(self.home, None, "worker")
        self._runner = LazyRunner(self._store, self._start_runner, self._stop_runner)
        self._queue = Queue(self._store, applied_configuration(self._store))
        self._hosts = self._store.hosts
        self._owner = self._hosts.register("worker", Identity.mine())
        self._journal = Journal(self.home, self._owner)
        self._parking = Parking(self.home, self._store.queue, self._owner, self.file_watch.rest)
        self.selector.register(self._parking.descriptor, selectors.EVENT_READ, self._parking.read)
        self._commands = CommandTools(self.home, self._owner, self._journal, self._wait_for_child)
        self._commands.has_strays = self._has_strays
        self._loop = TaskLoop(self, self._loop_tools())
        self._children = watch_own_children()
        self._expected_children = b""
        self._poll = select.poll()
        self._poll.register(self._signals.reader, select.POLLIN)
        self._configure()
        self._register(self._line.channel, self._line.read)
        self.report({"hello": self._owner})

    def _loop_tools(self) -> Tools:
        publisher = Publisher(self._queue, self._owner, self._parking, self.is_home_lost)
        return Tools(self._queue, self._journal, self._parking, publisher, self._runner, self._commands)

    def database_changed(self) -> None:
        """Look for a task that a launch has claimed for this worker, in case its message is missing."""
        self._parking.look()

    def turn(self) -> float:
        """Start tasks in the assigned slot, or check the running ones."""
        if not self._configured:
            self._configure()
        return self._loop.step()

    def abandon(self) -> None:
        """Exit after the running task."""
        self._parking.stop()
        self._leave()

    def is_home_away(self) -> bool:
        """Return True if the home was moved away, and may come back with the output of its tasks."""
        return not self.home.is_usable() and not self.is_home_lost()

    def shutdown(self) -> None:
        """Deregister, since all tasks are settled. The runner notices that its channel is closed, and exits.

        The files are deleted first. Files of a worker that is not registered stay until the next supervisor starts.
        """
        self._journal.remove()
        self._commands.remove()
        for path in self.home.folder.glob(f"output/worker-{self._owner}[-.]*"):
            with failpoint("worker.output.unlink"):
                path.unlink(missing_ok=True)
        self._hosts.deregister(self._owner)
        self._store.close()
        self.free_shared_slot()

    def free_shared_slot(self) -> None:
        """Free the shared slot, and wake the supervisors that wait for one."""
        if self._shared_slot is not None:
            self._shared_slot.free()
            wake_waiting()

    # the supervisor

    def report(self, message: dict[str, Any]) -> None:
        """Send the supervisor a message."""
        self._line.report(message)

    def _execute(self, order: dict[str, Any]) -> None:
        if "run" in order and "key" in order:
            self._loop.assign_for_one(Slot(*order["run"]), order["key"])
        elif "run" in order:
            self._loop.assign(Slot(*order["run"]))
        elif "chained" in order:
            self._loop.chained = order["chained"]
        elif "configure" in order:
            self._configured = False
        elif "leave" in order:
            self._leave()

    def _lose_supervisor(self) -> None:
        self._unregister(self._line.channel)
        self._leave()

    def _leave(self) -> None:
        self._loop.leave()

    def _request(self) -> None:
        self._loop.request()

    def _configure(self) -> None:
        before, config = self._queue.config, applied_configuration(self._store)
        self._queue.config = config
        self._store.durability = config.durability
        self._commands.environments = Environments(self.home, config.agent("command").env)
        if config.shared_limits != before.shared_limits:
            self._loop.give_slot_back_soon()
        if config.agent("python") != before.agent("python"):  # a runner gets its settings only when it starts
            self._runner.mark_outdated()
        self._configured = True

    # the children

    def _wait_for_child(self, seconds: float) -> bool:
        """Wait for the end of a child. Return False if something else needs the worker's attention."""
        for descriptor, _ in self._poll.poll(max(0.0, seconds) * 1000):
            if descriptor != self._signals.reader:
                return False
            self._signals.handle()
        return not self._loop.is_interrupted

    def _has_strays(self) -> bool:
        children = self._children()
        if children == self._expected_children:
            return False
        if set(map(int, children.split())) - self._runner.pids() - run.spared:
            return True
        self._expected_children = children
        return False

    def _start_runner(self, runner: Runner) -> None:
        """Create the output files of a new runner, send it its settings and read its messages. Raises OSError."""
        prefix = runner_prefix(self.home, self._owner)
        for stream in STREAMS:
            os.close(os.open(f"{prefix}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        hello = {
            "outputs": prefix,
            "claims": f"{self.home.folder}/output",
            "home": str(self.home.folder),
            "homeId": self.home.id,
            "environment": inherited(),
            "given": dict(self._queue.config.agent("python").env),
            "inherited": dict(os.environ),
        }
        runner.start(hello, self._journal.descriptor)
        self._register(runner.channel, lambda _mask: self._read_runner(runner))

    def _stop_runner(self, runner: Runner) -> None:
        """Read no more messages of a runner, and delete its output files, which are empty between two calls."""
        self._unregister(runner.channel)
        for stream in STREAMS:
            with suppress(FileNotFoundError), failpoint("worker.runner.unlink"):
                os.unlink(f"{runner.outputs}.{stream}")

    def _read_runner(self, runner: Runner) -> None:
        runner.read()
        if runner.refuses:
            self._unregister(runner.channel)
        if runner.blocked:
            log_trouble(TROUBLE_REST, "a runner cannot write its journal")
            clock.nap(TROUBLE_REST)
            runner.resume()
        self._loop.runner_is_ready()

    def _register(self, channel: socket.socket, callback: Callable[[int], None]) -> None:
        self.selector.register(channel, selectors.EVENT_READ, callback)
        self._poll.register(channel, select.POLLIN)

    def _unregister(self, channel: socket.socket) -> None:
        if channel in self.selector.get_map():
            self.selector.unregister(channel)
            self._poll.unregister(channel)
