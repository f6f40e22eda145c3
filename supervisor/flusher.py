"""The flusher serves the bus, forms batches and streams the event log. It outlives the supervisor."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from ..ipc import clock
from ..ipc.bus.handlers import Handlers, ServerHooks
from ..ipc.bus.server import Bus
from ..ipc.errors import Temporary
from ..ipc.home import Home
from ..ipc.machine.identity import Identity
from ..ipc.machine.lock import Lock
from ..ipc.machine.presence import take_role
from ..ipc.model.batch import BatchWindow, NotificationConfig
from ..ipc.model.event import ENDED, Line
from ..ipc.store import open_store
from ..ipc.store.applied_config import applied_configuration
from ..ipc.store.queue import Queue
from ..ipc.store.status import status
from .integrations.on_batch import BatchCommand
from .role import Role, do_nothing, keep_memory

#: The maximum number of events that are read at a time, and of sessions that get their batches in one transaction.
PAGE = 256


class Flusher(Role):
    """Publishes new events to subscribers, to waiting calls and to the on_batch command."""

    name = "bb-flusher"

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._lock = Lock(home.lock("flusher"))
        self._is_hinted = True
        self._configured = False
        self._seen = -1

    def signals(self) -> dict[signal.Signals, Callable[[], None]]:
        """Exit on SIGTERM from the supervisor. Ignore the signals of a terminal, which are for the supervisor."""
        return {signal.SIGTERM: self.finish, signal.SIGINT: do_nothing, signal.SIGHUP: do_nothing}

    def boot(self) -> None:
        """Take the lock, form the batches that have become due since the last flusher, and open the bus."""
        if not take_role(self.home, self._lock):
            self.finish()
            return
        keep_memory()
        self._store = open_store(self.home, None, "flusher")
        self._log = self._store.events
        self._queue = Queue(self._store, applied_configuration(self._store))
        self._queue.publication_timeout = 0.0  # a wait would block every client of the bus
        self._configure()
        self._hosts = self._store.hosts
        self._number = self._hosts.register("flusher", Identity.mine())
        self._seq = self._log.last_seq()
        self._form_batches(None)
        hooks = ServerHooks(wake=self._hint, flush=self._flush, status=self._status)
        self._handlers = Handlers(self._queue, self.home, hooks, clock.monotonic)
        self._bus = Bus(self.selector, self.home, self._log, self._handlers.methods())
        self.listen_for_hints("flusher", self._receive_hints)
        self._bus.open()
        self._on_batch = BatchCommand(self.selector, self._store)

    def turn(self) -> float:
        """Publish new events, form the batches that are due, and answer calls that have waited long enough."""
        if not self._lock.held:  # the home was deleted and created again
            self.finish()
            return 0.0
        self._bus.reopen_if_deleted()
        if not self._configured:
            self._on_batch.configure()
            self._configure()
        self._is_hinted = self._is_hinted or self._is_changed()
        if self._is_hinted:
            self._publish()
        if ended := self._window.ended():
            self._form(dict(islice(ended.items(), PAGE)))
            self._publish()
        self._handlers.answer_due()
        rests = (self._window.due(), self._handlers.due(), self._on_batch.turn(), self.file_watch.rest())
        return min(rest for rest in rests if rest is not None)

    def shutdown(self) -> None:
        """Form all batches, publish them, and close the bus."""
        if self._lock.held:
            self._form_batches(None)
            self._publish()
            self._on_batch.stop()
            self._bus.close()
            self._hosts.deregister(self._number)
            self._store.close()

    def _receive_hints(self, lines: bytes) -> None:
        self._is_hinted = True
        if b"configure" in lines:
            self._configured = False

    def _configure(self) -> None:
        """Apply the configuration and start all windows over. A failure is tried again in the next turn."""
        config = self._queue.config = applied_configuration(self._store)
        self._store.durability = config.durability
        batches = NotificationConfig(config.notification_batch_window_ms, config.notification_max_batch)
        self._window = BatchWindow(batches, clock.monotonic)
        self._form(self._count({parent: count for parent, (count, _) in self._log.unbatched().items()}))
        self._configured = True

    def _is_changed(self) -> bool:
        """Return True if another process may have written since the last call."""
        seen, self._seen = self._seen, self._store.changed()
        return seen != self._seen

    def _publish(self) -> None:
        """Publish all new events, and form the batches that they fill."""
        while self._publish_page():
            pass
        self._is_hinted = False

    def _publish_page(self) -> bool:
        """Publish the next page of events. Return True if there may be more, such as the batches formed here."""
        lines, is_all = self._log.page(None, self._seq, PAGE)
        if not lines:
            return False
        after, self._seq = self._seq, lines[-1].seq
        full = self._count(_count_ended(lines))
        self._bus.publish(lines)
        self._handlers.observe(lines)
        self._on_batch.observe(lines, after)
        return self._form(full) > 0 or not is_all

    def _count(self, ended: Mapping[str, int]) -> dict[str, int]:
        """Add ended tasks to the windows of their parents. Return the number per parent that fills whole batches."""
        full = {parent: self._window.add(parent, count) for parent, count in ended.items()}
        return {parent: count for parent, count in full.items() if count}

    def _form(self, ended: Mapping[str, int]) -> int:
        """Form the batches of the given number of ended tasks per parent. Return the number of batches.

        Raises:
            Temporary: No batch was formed, and the tasks wait for another window.
        """
        if not ended:
            return 0
        try:
            formed = self._log.form_batches(ended, self._queue.config.notification_max_batch)
        except Temporary:
            for parent in ended:
                self._window.restart(parent)
            raise
        for parent, count in ended.items():
            self._window.remove(parent, count)
        return formed

    def _hint(self) -> None:
        """Publish in the next turn, because a call over the bus has changed something."""
        self._is_hinted = True

    def _flush(self, parent: str | None) -> None:
        self._publish()
        self._form_batches(parent)
        self._publish()
        if parent is None:
            self._on_batch.flush()

    def _form_batches(self, parent: str | None) -> None:
        max_batch = self._queue.config.notification_max_batch
        for session in self._log.unbatched() if parent is None else [parent]:
            while self._log.form_batch(session, max_batch):
                pass
            self._window.close(session)

    def _status(self) -> dict[str, object]:
        return status(self._store)


def _count_ended(lines: Sequence[Line]) -> dict[str, int]:
    """Count the ended tasks of each parent on a page of the log."""
    parents = Counter(line.parent for line in lines if line.type == ENDED)
    return {parent: count for parent, count in parents.items() if parent is not None}
