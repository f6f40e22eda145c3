"""The worker: claim, run, settle; the transaction that settles a task claims the next of the same group."""

from __future__ import annotations

import json
import selectors
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ipc import clock
from ipc.claim import Claimed, Settlement, Slot
from ipc.database import Database
from ipc.errors import Temporary
from ipc.home import Home
from ipc.moments import moment
from ipc.queue import Queue
from ipc.registry import Registry
from ipc.settings import applied_configuration
from supervisor.execution.files import Files
from supervisor.execution.outcome import Outcome, Try, settlement_of
from supervisor.execution.plan import CannotStart
from supervisor.execution.record import ExitRecord
from supervisor.execution.run import Run
from supervisor.execution.runners import Runners
from supervisor.file_watch import FALLBACK_POLL
from supervisor.messages import say
from supervisor.role import TROUBLE_REST, Role, become_subreaper, keep_memory

#: Seconds of rest while only the runner, the supervisor or a signal can bring news.
LONG = 3600.0


class Worker(Role):
    """Runs tasks in the slots that the supervisor gives it; when the supervisor dies, it ends its task and leaves."""

    name = "bb-worker"

    def __init__(self, home: Home, channel: socket.socket) -> None:
        """Work for whoever holds the other end of `channel`."""
        super().__init__(home)
        self._channel = channel
        self._heard = b""
        self._slot: Slot | None = None
        self._chained = True
        self._leaving = False
        self._configured = False
        self._run: Run | None = None

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """SIGUSR1: look whether a verdict was written. SIGTERM: leave after this task."""
        return {signal.SIGTERM: self._leave, signal.SIGINT: self._leave, signal.SIGUSR1: self._look}

    def boot(self) -> None:
        """Fork the runner while nothing is open yet, then open the database and report for work."""
        become_subreaper()
        self._runners = Runners()
        keep_memory()
        self._database = Database(self.home, "normal")
        self._queue = Queue(self._database, applied_configuration(self._database))
        self._configure()
        self._registry = Registry(self._database)
        self._owner = self._registry.register("worker")
        self._record = ExitRecord(self.home, self._owner)
        self._channel.setblocking(False)
        self.selector.register(self._channel, selectors.EVENT_READ, self._listen)
        self._say({"hello": self._owner})

    def turn(self) -> float:
        """Begin what was given out, or see how it goes."""
        if not self._configured:
            self._configure()
        if self._run is None and self._slot is not None:
            fresh = self._runners.are_fresh()
            self._take(self._queue.claim(self._slot, self._owner) if fresh else None)
            if self._slot is not None:
                self._say({"busy": True})
        return LONG if self._run is None else self._watch(self._run)

    def abandon(self) -> None:
        """Leave when the task that runs has ended."""
        self._leave()

    def farewell(self) -> None:
        """Strike oneself out. The runners see their lines closed, and end."""
        self._registry.leave(self._owner)
        self._record.remove()
        self._database.close()

    def _watch(self, run: Run) -> float:
        if not self.home.is_usable() and not self.is_homeless():
            return TROUBLE_REST  # what the task wrote is there: it can be read when the home is back
        settlement = run.step()
        if settlement is not None:
            self._conclude(run, settlement)
        return LONG if self._run is None else min(self._run.rest(), FALLBACK_POLL if self._leaving else LONG)

    def _take(self, claimed: Claimed | None) -> None:
        """Start what was claimed; with nothing, give the slot back."""
        while claimed is not None and self._run is None:
            try:
                self._run = Run(claimed, self._queue, self._runners)
            except CannotStart as refusal:
                claimed = self._refuse(claimed, refusal)
            except Temporary as error:
                self._hold_on(error)
        if self._run is not None:
            self.selector.register(self._run.attempt.watched, selectors.EVENT_READ, self._run.heard)
            return
        self._slot = None
        if self._leaving or not self._runners.are_fresh():
            self.finish()
        else:
            self._say({"idle": True})

    def _refuse(self, claimed: Claimed, refusal: CannotStart) -> Claimed | None:
        """Settle what could not be started; the next task."""
        Files(self.home, claimed.claim).forget(inputs=True)
        outcome = Outcome(error=str(refusal), error_kind="spawn", exit_code=refusal.exit_code)
        return self._settle(settlement_of(Try.of(claimed), outcome, self._queue.config))

    def _conclude(self, run: Run, settlement: Settlement) -> None:
        self.selector.unregister(run.attempt.watched)
        run.attempt.close()
        run.trim()
        self._run = None
        self._note(settlement)
        files = run.attempt.files
        outputs = files.small()
        whole = replace(settlement, outputs=outputs) if outputs else settlement
        if self._database.durability == "full":
            files.sync()
        claimed = self._settle(whole)
        files.forget(inputs=run.claimed.stdin is not None or run.claimed.prompt is not None)
        self._take(claimed)

    def _note(self, settlement: Settlement) -> None:
        """Put the end on record, in case this process dies before it is settled; on a full disk it must do without."""
        try:
            self._record.write(settlement)
        except OSError as error:
            say("unrecorded", why=error)

    def _settle(self, settlement: Settlement) -> Claimed | None:
        """Settle, whatever stands in the way for now: the result is kept until it is written."""
        goes_on = self._chained and not self._leaving and self._slot is not None and self._runners.are_fresh()
        then = (self._slot, self._owner) if goes_on and self._slot is not None else None
        while True:
            try:
                return self._queue.settle(settlement, then)[1]
            except Temporary as error:
                self._hold_on(error)

    def _hold_on(self, error: Temporary) -> None:
        """Rest before the next try at what stands between one claim and the next. Raises that, if it is for good."""
        if self.is_homeless():
            raise error
        say("trouble", rest=TROUBLE_REST, why=error)
        clock.nap(TROUBLE_REST)

    def _listen(self, _mask: int) -> None:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self.selector.unregister(self._channel)
            self._leave()
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "run" in order:
            self._slot = Slot(*order["run"])
        elif "chained" in order:
            self._chained = order["chained"]
        elif "configure" in order:
            self._configured = False
        elif "leave" in order:
            self._leave()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            with moment("worker.say"):
                self._channel.send(json.dumps(message).encode() + b"\n")
        except OSError:  # the supervisor is gone; `_listen` sees it
            return

    def _configure(self) -> None:
        self._queue.config = applied_configuration(self._database)
        self._database.durability = self._queue.config.durability
        self._configured = True

    def _leave(self) -> None:
        self._leaving = True
        if self._run is None:
            self.finish()

    def _look(self) -> None:
        if self._run is not None:
            self._run.look = True
