"""The flusher: serves the bus, forms batches, streams the log. It outlives the supervisor; dead, it is replaced."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Sequence

from ipc import clock
from ipc.bus import Bus
from ipc.database import Database
from ipc.errors import Temporary
from ipc.home import Home
from ipc.lock import Lock
from ipc.log import Line, Log
from ipc.methods import Methods, Surroundings
from ipc.notifications import NotificationConfig, NotificationManager
from ipc.queue import Queue
from ipc.registry import Registry
from ipc.settings import applied_configuration
from ipc.status import status
from ipc.task import Task, TaskStatus
from supervisor.herald import Herald
from supervisor.role import PARANOIA, Role, keep_memory, nothing

#: Events read from the log in one go.
PAGE = 256


class Outbox(NotificationManager):
    """Decides when a batch is due; what it tells is then read from the database, which knows what was not told yet."""

    def __init__(self, log: Log, config: NotificationConfig) -> None:
        """Form batches in that log."""
        super().__init__(config, clock=clock.monotonic)
        self.formed = 0
        self._log = log
        self._most = config.max_batch_size

    def announce(self, parent: str, tasks: Sequence[Task]) -> None:
        """Form the batch, whole, in one transaction; of large tasks several smaller ones."""
        left = len(tasks)
        while left > 0 and (told := self._log.form_batch(parent, self._most)):
            self.formed += 1
            left -= told


class Flusher(Role):
    """One process, one loop: what the log says goes to whoever listens."""

    name = "bb-flusher"

    def __init__(self, home: Home) -> None:
        """Serve that home's bus."""
        super().__init__(home)
        self._lock = Lock(home.lock("flusher"))
        self._stirred = True
        self._seen = -1

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """SIGTERM, from the supervisor, is the end; a terminal's signals are for the supervisor alone."""
        return {signal.SIGTERM: self.finish, signal.SIGINT: nothing, signal.SIGHUP: nothing}

    def boot(self) -> None:
        """Take the lock, take up the log where the last batch left it, open the bus."""
        if not self._lock.acquire():
            self.finish()
            return
        keep_memory()
        self._database = Database(self.home, "normal")
        self._log = Log(self._database)
        self._queue = Queue(self._database, applied_configuration(self._database))
        self._configure()
        self._registry = Registry(self._database)
        self._number = self._registry.register("flusher")
        self._seq = self._log.last_seq()
        self._form_batches(None)
        around = Surroundings(poke=self._stir, flush=self._flush, status=self._status)
        self._methods = Methods(self._queue, self.home, around, clock.monotonic)
        self._bus = Bus(self.selector, self.home, self._log, self._methods.table())
        self.listen_for_hints("flusher", self._heard)
        self._bus.open()
        self._herald = Herald(self.selector, self._log)

    def turn(self) -> float:
        """Tell what is new, form the batches that are due, answer those that waited long enough."""
        if not self._lock.held:  # the home was deleted and made anew
            self.finish()
            return 0.0
        if not self._configured:
            self._configure()
            self._herald.configure()
        self._stirred = self._stirred or self._is_changed()
        if self._stirred:
            self._tell()
        if self._outbox.due() == 0.0:
            self._outbox.flush_due()
            self._tell()
        self._methods.expire()
        rests = (self._outbox.due(), self._methods.due(), self._herald.turn(), PARANOIA)
        return min(rest for rest in rests if rest is not None)

    def farewell(self) -> None:
        """Tell what is left, and close the bus."""
        if self._lock.held:
            self._form_batches(None)
            self._tell()
            self._herald.leave()
            self._bus.close()
            self._registry.leave(self._number)
            self._database.close()

    def _heard(self, lines: bytes) -> None:
        self._stirred = True
        if b"configure" in lines:
            self._configured = False

    def _configure(self) -> None:
        self._configured = True
        config = self._queue.config = applied_configuration(self._database)
        self._database.durability = config.durability
        self._outbox = Outbox(
            self._log, NotificationConfig(config.notification_batch_window_ms, config.notification_max_batch)
        )
        for parent, (count, _) in self._log.unbatched().items():
            for _ in range(count):
                self._outbox.notify(_waiting(parent))

    def _is_changed(self) -> bool:
        """Whether there may be news of which no hint came; the first time after a hint there may be always."""
        seen, self._seen = self._seen, self._database.changed()
        return seen != self._seen

    def _tell(self) -> None:
        """Hand on all that is new in the log: to calls that wait, to subscribers, to the outbox."""
        while self._tell_page():
            pass
        self._stirred = False

    def _tell_page(self) -> bool:
        """Hand on the next events; whether there may be more, our own batches among them."""
        formed = self._outbox.formed
        lines, is_all = self._log.page(None, self._seq, PAGE)
        if lines:
            self._seq = lines[-1].seq
            self._bus.publish(lines)
            self._methods.observe(lines)
            self._herald.stir()
        self._note_ends(lines)
        return not is_all or self._outbox.formed > formed

    def _note_ends(self, lines: Sequence[Line]) -> None:
        """Have the outbox know of all ends, though a batch could not be formed just now: it is tried again then."""
        trouble = None
        for line in lines:
            if line.type == "background_task_completed" and line.parent is not None:
                try:
                    self._outbox.notify(_waiting(line.parent))
                except Temporary as error:
                    trouble = error
        if trouble is not None:
            raise trouble

    def _stir(self) -> None:
        """A call that came over the bus changed something."""
        self._stirred = True

    def _flush(self, parent: str | None) -> None:
        self._tell()
        self._form_batches(parent)
        self._tell()

    def _form_batches(self, parent: str | None) -> None:
        most = self._queue.config.notification_max_batch
        for one in self._log.unbatched() if parent is None else [parent]:
            while self._log.form_batch(one, most):
                pass

    def _status(self) -> dict[str, object]:
        return status(self._database, self._queue.config)


@functools.lru_cache(256)
def _waiting(parent: str) -> Task:
    """What the outbox needs to know of an ended task: that it is one, and whose. The rest is read when it is told."""
    return Task(
        id="",
        agent="",
        concurrency_key="",
        cwd="",
        status=TaskStatus.COMPLETED,
        queued_at=clock.moment(0),
        parent_session_id=parent,
    )
