"""Follow the events of a state directory in order, from the bus if it answers, else from the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from .. import clock
from ..backoff import LONGEST_DELAY, Backoff
from ..bus.client import BlockingConnection
from ..errors import BackburnerError, Temporary
from ..model.event import ALL_SESSIONS, TRUNCATED, Event
from ..store.interface import Store
from ..store.log_reader import LogReader


class EventStream:
    """The endless stream of the events of a session, or of all (`*`), after a number. Only one thread may iterate."""

    def __init__(self, store: Store, parent: str, after: int) -> None:
        self._home = store.home
        self._log = store.events
        self._parent, self._after = parent, after
        self._connection: BlockingConnection | None = None
        self._woken = threading.Event()
        self._lock = threading.Lock()
        self.is_closed = False

    def __iter__(self) -> Iterator[Event]:
        """Yield each event once until `close`, even if the bus is restarted. Raises Permanent."""
        backoff = Backoff()
        while not self.is_closed:
            with suppress(Temporary):
                for event in self._subscribe() if self._connect() else self._read():
                    backoff.reset()
                    self._after = event.seq
                    yield event
            self._woken.wait(backoff.next_delay())
            self._woken.clear()

    def wake(self) -> None:
        """Read at once, because this process has written an event."""
        self._woken.set()

    def close(self) -> None:
        """End the iteration, even while it waits."""
        with self._lock:
            self.is_closed = True
            if self._connection is not None:
                self._connection.shutdown()
        self._woken.set()

    def _connect(self) -> bool:
        try:
            connection = BlockingConnection(self._home.bus)
        except OSError:
            return False
        with self._lock:
            self._connection = connection
            if self.is_closed:
                connection.shutdown()
        return True

    def _subscribe(self) -> Iterator[Event]:
        """Yield the events from the bus until it disconnects. Raises Disconnected."""
        connection = self._connection
        assert connection is not None, "it was just connected"
        try:
            connection.call("subscribe", {"parentSessionId": self._parent, "after": self._after})
            while True:
                yield Event.from_json(connection.next_notification().params)
        finally:
            with self._lock:
                self._connection = None
            connection.close()

    def _read(self) -> Iterator[Event]:
        """Yield the events that are in the log now. Raises Temporary."""
        for event in LogReader(self._log, self._parent, self._after).events():
            if self.is_closed:
                return
            yield event


class Events(Iterator[Event]):
    """The events of one stream that have certain types, and `log_truncated`."""

    def __init__(self, stream: EventStream, types: Sequence[str] | None, acknowledge: Callable[[int], object]) -> None:
        """Pass on events of `types`, or of all types if it is None. `acknowledge` moves the reader's cursor."""
        self._stream = stream
        self._source = iter(stream)
        self._types = None if types is None else {*types, TRUNCATED}
        self._acknowledge = acknowledge
        self._last: Event | None = None
        #: True if each event is acknowledged when the next one is requested.
        self.acknowledges = False

    def __next__(self) -> Event:
        """Wait for the next event."""
        if self.acknowledges and self._last is not None:
            self.acknowledge(self._last)
        self._last = next(event for event in self._source if self._types is None or event.type in self._types)
        return self._last

    def acknowledge(self, event: Event) -> None:
        """Acknowledge an event and all events before it, so that this consumer does not get them again."""
        self._acknowledge(event.seq)

    def close(self) -> None:
        """End the iteration. Any thread may call this."""
        self._stream.close()


class EventThread:
    """A thread that dispatches all events of a store from now on."""

    def __init__(self, store: Store, dispatch: Callable[[Event], object], done: Callable[[Event], object]) -> None:
        """Call `dispatch` with each event in order, then `done`. Their exceptions are logged."""
        self._store = store
        self._dispatch, self._done = dispatch, done
        #: The number of the last event that was dispatched.
        self.dispatched = store.events.last_seq()
        self._stream = EventStream(store, ALL_SESSIONS, self.dispatched)
        self._closes_store = False
        self._thread = threading.Thread(target=self._run, name="backburner-events", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """True on this thread itself."""
        return threading.current_thread() is self._thread

    def newest(self) -> int:
        """Return the number of the last event in the log, or 0 if it is empty."""
        return self._store.events.newest()

    def wake(self) -> None:
        """Read the log at once, because this process has written an event."""
        self._stream.wake()

    def stop(self) -> None:
        """Let the thread end after the current event, and then close the store."""
        self._closes_store = True
        self._stream.close()

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the end of the thread after `stop`. On the thread itself, return at once."""
        if not self.is_current:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stream.is_closed:
            try:
                self._dispatch_all()
            except BackburnerError:
                logging.getLogger("backburner").exception("the events cannot be followed")
                clock.nap(LONGEST_DELAY)
        if self._closes_store:
            self._store.close()

    def _dispatch_all(self) -> None:
        for event in self._stream:
            _call(self._dispatch, event)
            self.dispatched = event.seq
            _call(self._done, event)


def _call(handler: Callable[[Event], object], event: Event) -> None:
    try:
        handler(event)
    except BaseException:  # even SystemExit must not end the thread
        logging.getLogger("backburner").exception("a handler of events failed")
