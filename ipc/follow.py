"""Following a home's events in order, with and without a supervisor: from the bus, else from the log itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from ipc import clock
from ipc.client import EVERYONE, Naps, Wire
from ipc.database import Database
from ipc.errors import Temporary
from ipc.event import Event
from ipc.log import Line, Log

#: Events read from the log in one go.
PAGE = 256


class Stream:
    """The events of a parent (`*`: all) after a number, for ever; to be read by one thread."""

    def __init__(self, database: Database, parent: str, after: int) -> None:
        """Begin after that number."""
        self._home = database.home
        self._log = Log(database)
        self._parent, self._after = parent, after
        self._wire: Wire | None = None
        self._stirred = threading.Event()
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until `close`; over breaks and restarts each comes once."""
        naps = Naps()
        while not self._closed:
            with suppress(Temporary):
                for event in self._heard() if self._connect() else self._read():
                    naps.reset()
                    self._after = event.seq
                    yield event
            self._stirred.wait(naps.next())
            self._stirred.clear()

    def stir(self) -> None:
        """Something was written by this very process: look at once."""
        self._stirred.set()

    def close(self) -> None:
        """End the iteration, wherever it waits."""
        with self._lock:
            self._closed = True
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
            if self._closed:
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
        parent = None if self._parent == EVERYONE else self._parent
        while lines := self._log.read(parent, self._after, PAGE):
            yield from self._gap(parent, lines[0])
            for line in lines:
                if self._closed:
                    return
                yield Event.from_json(json.loads(line.text))

    def _gap(self, parent: str | None, next_: Line) -> Iterator[Event]:
        """What says, as the bus does, that some events are not kept any more."""
        first = self._log.truncated(parent, self._after)
        if first is not None and next_.seq >= first:
            yield Event(
                seq=first - 1,
                type="log_truncated",
                at=clock.moment(clock.now()),
                parent_session_id=parent,
                data={"firstSeq": first},
            )


class Follower:
    """A thread that hands on all events of a home from now on, and knows how far it is."""

    def __init__(self, database: Database, handle: Callable[[Event], object]) -> None:
        """Have `handle` called with each event, in order. It must not raise."""
        self._database = database
        self._handle = handle
        self._after = Log(database).last_seq()
        self._stream = Stream(database, EVERYONE, self._after)
        self._thread = threading.Thread(target=self._follow, name="backburner-events", daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether this is the follower's own thread."""
        return threading.current_thread() is self._thread

    @property
    def is_abreast(self) -> bool:
        """Whether all that is in the log now was handled."""
        with self._database.read() as transaction:
            newest = transaction.value("newest_event")
        return newest is None or newest <= self._after

    def stir(self) -> None:
        """Something was written by this very process."""
        self._stream.stir()

    def close(self) -> None:
        """Stop, and wait until the thread is gone unless this is the thread itself."""
        self._stream.close()
        if not self.here:
            self._thread.join()

    def _follow(self) -> None:
        for event in self._stream:
            self._handle(event)
            self._after = event.seq
