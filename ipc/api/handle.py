"""A home as one process has it open: its database, its event thread, who listens and who waits."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress

from .. import clock
from ..config.settings import BackgroundConfig
from ..errors import BackburnerError
from ..home import Home
from ..model.event import ALL_SESSIONS
from ..model.task import Task
from ..store import open_store
from ..store.queue import Queue
from .callbacks import Listeners, Waiting
from .event_stream import Follower, Stream

#: Seconds that callbacks get to hear of what was cancelled before it is forgotten.
FAREWELL = 5.0


class Handle:
    """A home as one process has it open, and who listens to it. Knows nothing of its manager, which may be dropped."""

    def __init__(self, home: Home, config: BackgroundConfig) -> None:
        """Open it."""
        self.pid = os.getpid()
        self.store = open_store(home, config, "library")
        self.queue = Queue(self.store, config)
        self.listeners = Listeners(self.queue)
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._follower: Follower | None = None
        self._lock = threading.Lock()

    def following(self) -> Follower:
        """The thread that follows the events, from now on."""
        with self._lock:
            if self._follower is None:
                self._follower = Follower(self.store, self.listeners.handle, self.listeners.handled)
            return self._follower

    def stream(self, parent: str, after: int) -> Stream:
        """Events for one reader; they end when this is closed."""
        stream = Stream(self.store, parent, after)
        self._streams.add(stream)
        return stream

    def start_of(self, parent: str, consumer: str) -> int:
        """After which event one begins who does not say."""
        return self.store.events.last_seq() if parent == ALL_SESSIONS else self.store.events.cursor(parent, consumer)

    def stir(self) -> None:
        """This process has written something: without a bus nobody else says so."""
        if self._follower is not None:
            self._follower.stir()
        for stream in list(self._streams):
            stream.stir()

    def catch_up(self) -> None:
        """Return when all callbacks that are due have returned, or have had some seconds for it."""
        if self._follower is None:
            return
        stirred = threading.Event()
        with suppress(TimeoutError), Expecting(self, Waiting(self.queue, (), False, stirred.set)) as expected:
            expected.wait(stirred, FAREWELL)

    def close(self) -> None:
        """Let go of everything, as soon as the thread comes to it; in a forked child, of nothing."""
        if self.pid != os.getpid():
            return
        for stream in list(self._streams):
            stream.close()
        if self._follower is None:
            self.store.close()
        else:
            self._follower.abandon()
        self.listeners.give_up()

    def join(self) -> None:
        """After `close`: return when the thread is gone, or a callback has had some seconds to return."""
        if self._follower is not None and self.pid == os.getpid():
            self._follower.join(FAREWELL)


class Expecting:
    """Somebody who waits for tasks, while the `with` lasts."""

    def __init__(self, handle: Handle, waiting: Waiting) -> None:
        """Have `waiting` told of what happens."""
        self._handle = handle
        self._waiting = waiting
        self._follower = handle.following()

    @property
    def within(self) -> bool:
        """Whether a callback waits, which all others wait for."""
        return self._waiting.within

    @within.setter
    def within(self, within: bool) -> None:
        self._waiting.within = within

    def __enter__(self) -> Expecting:
        self._handle.listeners.add(self._waiting)
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.listeners.remove(self._waiting)

    def wait(self, stirred: threading.Event, timeout: float | None) -> list[Task]:
        """Block until it is over; the tasks that have ended. Raises TimeoutError."""
        until = deadline(timeout)
        while not self.over():
            stirred.wait(self.rest(until))
            stirred.clear()
        return self._waiting.tasks()

    def over(self) -> bool:
        """Whether the waiting is over. Raises BackburnerError if the manager was closed."""
        if self._waiting.given_up:
            raise BackburnerError("The manager was closed while somebody waited.")
        return self._waiting.over(self._follower)

    def rest(self, until: float) -> float:
        """Seconds to rest before one asks again, unless stirred. Raises TimeoutError."""
        left = until - clock.monotonic()
        if left <= 0:
            raise TimeoutError("The tasks have not ended in time.")
        return min(left, self._waiting.rest(self._follower))

    def tasks(self) -> list[Task]:
        """Those that have ended."""
        return self._waiting.tasks()


def deadline(timeout: float | None) -> float:
    """When a timeout in seconds is over, by `clock.monotonic`."""
    return float("inf") if timeout is None else clock.monotonic() + timeout
