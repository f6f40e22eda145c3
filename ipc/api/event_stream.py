"""Following a home's events in order: from the bus where there is one, else from the log itself."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from .. import clock
from ..backoff import LONGEST_DELAY, Backoff
from ..bus.client import Wire
from ..errors import BackburnerError, Temporary
from ..model.event import ALL_SESSIONS, Event, Line
from ..store.interface import Store

#: Events read from the log in one go.
PAGE = 256


class Stream:
    """The events of a parent (`*`: all) after a number, for ever; to be read by one thread."""

    def __init__(self, store: Store, parent: str, after: int) -> None:
        """Begin after that number."""
        self._home = store.home
        self._log = store.events
        self._parent, self._after = parent, after
        self._wire: Wire | None = None
        self._stirred = threading.Event()
        self._lock = threading.Lock()
        self.closed = False

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until `close`; over breaks and restarts each comes once. Raises Permanent."""
        backoff = Backoff()
        while not self.closed:
            with suppress(Temporary):
                for event in self._heard() if self._connect() else self._read():
                    backoff.reset()
                    self._after = event.seq
                    yield event
            self._stirred.wait(backoff.next_delay())
            self._stirred.clear()

    def stir(self) -> None:
        """Something was written by this very process: look at once."""
        self._stirred.set()

    def close(self) -> None:
        """End the iteration, wherever it waits."""
        with self._lock:
            self.closed = True
            if self._wire is not None:
                self._wire.hang_up()
        self._stirred.set()

    def _connect(self) -> bool:
        try:
            wire = Wire(self._home.bus)
        except OSError:
            return False
        with self._lock:
            self._wire = wire
            if self.closed:
                wire.hang_up()
        return True

    def _heard(self) -> Iterator[Event]:
        """What the bus tells, until it goes away. Raises Disconnected."""
        wire = self._wire
        assert wire is not None, "only who is connected listens"
        try:
            wire.call("subscribe", {"parentSessionId": self._parent, "after": self._after})
            while True:
                yield Event.from_json(wire.next().params)
        finally:
            with self._lock:
                self._wire = None
            wire.close()

    def _read(self) -> Iterator[Event]:
        """What the log has. Raises Temporary."""
        parent = None if self._parent == ALL_SESSIONS else self._parent
        while lines := self._log.read(parent, self._after, PAGE):
            yield from self._gap(parent, lines[0])
            for line in lines:
                if self.closed:
                    return
                yield Event.from_json(json.loads(line.text))

    def _gap(self, parent: str | None, next_: Line) -> Iterator[Event]:
        """What says, as the bus does, that some events are not kept any more."""
        first = self._log.truncated(parent, self._after)
        if first is not None and next_.seq >= first:
            yield Event(
                seq=first - 1,
                type="log_truncated",
                at=clock.to_datetime(clock.now()),
                parent_session_id=parent,
                data={"firstSeq": first},
            )


class Events(Iterator[Event]):
    """The events of one stream for one reader: those of certain types (None: of all), and any gap in the log."""

    def __init__(self, stream: Stream, types: Sequence[str] | None, acknowledge: Callable[[int], object]) -> None:
        """Read that stream; `acknowledge` moves the reader's cursor."""
        self._stream = stream
        self._source = iter(stream)
        self._types = None if types is None else {*types, "log_truncated"}
        self._acknowledge = acknowledge
        self._last: Event | None = None
        #: Whether each is acknowledged when the next one is asked for.
        self.acknowledges = False

    def __next__(self) -> Event:
        """Wait for the next one."""
        if self.acknowledges and self._last is not None:
            self.acknowledge(self._last)
        self._last = next(event for event in self._source if self._types is None or event.type in self._types)
        return self._last

    def acknowledge(self, event: Event) -> None:
        """Say that this one, and all before it, need not come again to this consumer."""
        self._acknowledge(event.seq)

    def close(self) -> None:
        """End them; may be called from any thread."""
        self._stream.close()


class Follower:
    """A thread that hands on all events of a home from now on, and knows how far it is."""

    def __init__(self, store: Store, handle: Callable[[Event], object], handled: Callable[[Event], object]) -> None:
        """Have `handle` called with each event, in order, and `handled` when `after` counts it; errors are logged."""
        self._store = store
        self._handle, self._handled = handle, handled
        self._stream = Stream(store, ALL_SESSIONS, store.events.last_seq())
        self._abandoned = False
        #: The number of the last event that was handled.
        self.after = self._stream._after
        self._thread = threading.Thread(target=self._follow, name="backburner-events", daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether this is the follower's own thread."""
        return threading.current_thread() is self._thread

    def newest(self) -> int:
        """The number of the last event that is in the log now; 0 if it is empty."""
        return self._store.events.newest()

    def stir(self) -> None:
        """Something was written by this very process."""
        self._stream.stir()

    def join(self, patience: float) -> None:
        """After `abandon`: return when the thread is gone, or has had so many seconds; at once on the thread itself."""
        if not self.here:
            self._thread.join(patience)

    def abandon(self) -> None:
        """Stop, whenever that is; then the database is closed."""
        self._abandoned = True
        self._stream.close()

    def _follow(self) -> None:
        while not self._stream.closed:
            try:
                self._hand_on()
            except BackburnerError:
                logging.getLogger("backburner").exception("the events cannot be followed")
                clock.nap(LONGEST_DELAY)
        if self._abandoned:
            self._store.close()

    def _hand_on(self) -> None:
        for event in self._stream:
            _call(self._handle, event)
            self.after = event.seq
            _call(self._handled, event)


def _call(handle: Callable[[Event], object], event: Event) -> None:
    try:
        handle(event)
    except BaseException:  # that it wants to exit ends no thread of ours
        logging.getLogger("backburner").exception("a handler of events failed")
