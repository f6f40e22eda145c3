"""The flusher: serves the bus, forms batches, streams the log. It outlives the supervisor; dead, it is replaced."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from ..ipc import clock
from ..ipc.bus.handlers import Methods, Surroundings
from ..ipc.bus.server import Bus
from ..ipc.errors import Temporary
from ..ipc.home import Home
from ..ipc.machine.lock import Lock
from ..ipc.model.batch import BatchWindow, NotificationConfig
from ..ipc.store.applied_config import applied_configuration
from ..ipc.store.events import EventLog, Line
from ..ipc.store.processes import ProcessTable
from ..ipc.store.queue import Queue
from ..ipc.store.sqlite.database import Database
from ..ipc.store.status import status
from .integrations.on_batch import Herald
from .role import Role, keep_memory, nothing

#: Events read from the log in one go, and sessions whose batches are formed in one transaction.
PAGE = 256


class Flusher(Role):
    """One process, one loop: what the log says goes to whoever listens."""

    name = "bb-flusher"

    def __init__(self, home: Home) -> None:
        """Serve that home's bus."""
        super().__init__(home)
        self._lock = Lock(home.lock("flusher"))
        self._stirred = True
        self._configured = False
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
        self._log = EventLog(self._database)
        self._queue = Queue(self._database, applied_configuration(self._database))
        self._queue.publication_timeout = 0.0  # this process serves others meanwhile
        self._configure()
        self._registry = ProcessTable(self._database)
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
            self._herald.configure()
            self._configure()
        self._stirred = self._stirred or self._is_changed()
        if self._stirred:
            self._tell()
        if ended := self._window.ended():
            self._form(dict(islice(ended.items(), PAGE)))
            self._tell()
        self._methods.expire()
        rests = (self._window.due(), self._methods.due(), self._herald.turn(), self.file_watch.rest())
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
        """Apply the configuration and start all windows over; what fails here is tried again in the next turn."""
        config = self._queue.config = applied_configuration(self._database)
        self._database.durability = config.durability
        batches = NotificationConfig(config.notification_batch_window_ms, config.notification_max_batch)
        self._window = BatchWindow(batches, clock.monotonic)
        self._form(self._count({parent: count for parent, (count, _) in self._log.unbatched().items()}))
        self._configured = True

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
        """Publish the next page of events; return True if there may be more, such as the batches formed here."""
        lines, is_all = self._log.page(None, self._seq, PAGE)
        if not lines:
            return False
        self._seq = lines[-1].seq
        full = self._count(_ends(lines))
        self._bus.publish(lines)
        self._methods.observe(lines)
        self._herald.stir()
        return self._form(full) > 0 or not is_all

    def _count(self, ends: Mapping[str, int]) -> dict[str, int]:
        """Count ended tasks per parent; return those that fill whole batches."""
        full = {parent: self._window.add(parent, count) for parent, count in ends.items()}
        return {parent: count for parent, count in full.items() if count}

    def _form(self, ends: Mapping[str, int]) -> int:
        """Form the batches of so many ended tasks per parent; return how many were formed.

        Raises Temporary: No batch was formed, and the tasks wait for another window.
        """
        if not ends:
            return 0
        try:
            formed = self._log.form_batches(ends, self._queue.config.notification_max_batch)
        except Temporary:
            for parent in ends:
                self._window.restart(parent)
            raise
        for parent, count in ends.items():
            self._window.remove(parent, count)
        return formed

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
            self._window.close(one)

    def _status(self) -> dict[str, object]:
        return status(self._database, self._queue.config)


def _ends(lines: Sequence[Line]) -> dict[str, int]:
    """Count the ended tasks of each parent."""
    parents = Counter(line.parent for line in lines if line.type == "background_task_completed")
    return {parent: count for parent, count in parents.items() if parent is not None}
