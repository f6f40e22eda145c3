"""A state directory as one process has it open: its store, its event thread, its callbacks and waits."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

from ..config.settings import BackgroundConfig
from ..home import Home
from ..model.event import Event
from ..model.wait import Wait
from ..store import open_store
from ..store.queue import Queue
from .callbacks import Callbacks
from .event_stream import EventStream, EventThread
from .waiting import TaskWait, deadline

#: Seconds to wait for callbacks before their tasks are deleted or the manager is closed.
CALLBACK_TIMEOUT = 5.0


class Handle:
    """A state directory as one process has it open. It does not keep its manager from being collected."""

    def __init__(self, home: Home, config: BackgroundConfig) -> None:
        self.pid = os.getpid()
        self.store = open_store(home, config, "library")
        self.queue = Queue(self.store, config)
        self.callbacks = Callbacks(self.queue)
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._waits: weakref.WeakSet[TaskWait] = weakref.WeakSet()
        self._thread: EventThread | None = None
        self._lock = threading.Lock()

    def start_thread(self) -> EventThread:
        """Return the thread that follows the events. The first call starts it."""
        with self._lock:
            if self._thread is None:
                self._thread = EventThread(self.store, self.callbacks.dispatch, self._record)
            return self._thread

    def start_wait(self, wait: Wait, wake: Callable[[], object]) -> TaskWait:
        """Return a wait that receives events as long as it is referenced."""
        started = TaskWait(self.queue, wait, self.start_thread(), wake)
        with self._lock:
            self._waits.add(started)
        return started

    def stream(self, parent: str, after: int) -> EventStream:
        """Return a stream of events that ends when this handle is closed."""
        stream = EventStream(self.store, parent, after)
        self._streams.add(stream)
        return stream

    def wake(self) -> None:
        """Read the log at once. Without a bus, nothing else reports the writes of this process."""
        if self._thread is not None:
            self._thread.wake()
        for stream in list(self._streams):
            stream.wake()

    def wait_for_callbacks(self) -> None:
        """Return when the callbacks that are due have returned, or after a timeout."""
        if self._thread is None:
            return
        woken = threading.Event()
        with suppress(TimeoutError):
            self.start_wait(Wait(()), woken.set).wait(woken, deadline(CALLBACK_TIMEOUT))

    def close(self) -> None:
        """Close the store once the event thread has ended. In a forked child, do nothing."""
        if self.pid != os.getpid():
            return
        for stream in list(self._streams):
            stream.close()
        if self._thread is None:
            self.store.close()
        else:
            self._thread.stop()
        for wait in self._started_waits():
            wait.close()

    def join(self) -> None:
        """Wait after `close` until the event thread has ended, or until a timeout."""
        if self._thread is not None and self.pid == os.getpid():
            self._thread.join(CALLBACK_TIMEOUT)

    def _record(self, event: Event) -> None:
        for wait in self._started_waits():
            wait.record(event)

    def _started_waits(self) -> list[TaskWait]:
        with self._lock:
            return list(self._waits)
