"""Wait for a change in a state directory. The bus reports changes. Without a bus, the database is polled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from ...ipc import clock
from ...ipc.backoff import Backoff
from ...ipc.bus.client import Client
from ...ipc.errors import BackburnerError
from ...ipc.machine.presence import Presence
from ...ipc.model.event import ALL_SESSIONS
from .context import Context

#: Seconds between two checks of the database: the first delay, and the maximum delays without and with a bus.
FIRST_DELAY, LONGEST_DELAY, LONGEST_WITH_BUS = 0.01, 0.2, 2.0
GROWTH = 1.5


class ChangeWatch:
    """Notices that something may have changed since the watch was created."""

    def __init__(self, context: Context) -> None:
        self._store, self._home = context.store, context.home
        self._version = self._store.changed()
        self._notified = threading.Event()
        self._backoff = Backoff(FIRST_DELAY, LONGEST_WITH_BUS, GROWTH)
        self._client = Client(context.home)
        after = self._store.events.last_seq()
        self._listener = threading.Thread(target=self._listen, args=(after,), name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""
        self._client.close()
        self._listener.join()

    def wait(self, timeout: float | None = None) -> bool:
        """Return True as soon as something may have changed, False after `timeout` seconds."""
        end = float("inf") if timeout is None else clock.monotonic() + timeout
        while not self._has_changed():
            remaining = end - clock.monotonic()
            if remaining <= 0:
                return False
            self._notified.wait(min(remaining, self._backoff.next_delay(), self._longest_delay()))
        self._backoff.reset()
        return True

    def _has_changed(self) -> bool:
        notified = self._notified.is_set()
        self._notified.clear()
        version, self._version = self._version, self._store.changed()
        return notified or version != self._version

    def _longest_delay(self) -> float:
        return LONGEST_WITH_BUS if Presence(self._home).is_held("flusher") else LONGEST_DELAY

    def _listen(self, after: int) -> None:
        with suppress(BackburnerError):
            for _event in self._client.events(ALL_SESSIONS, after=after):
                self._notified.set()


def wait_until(
    context: Context, condition: Callable[[], bool], timeout: float | None, interval: float = float("inf")
) -> bool:
    """Wait until `condition()` is true. Return False after `timeout` seconds.

    `condition` is called whenever something may have changed, and at least every `interval` seconds.
    """
    end = float("inf") if timeout is None else clock.monotonic() + timeout
    with ChangeWatch(context) as watch:
        while not condition():
            remaining = end - clock.monotonic()
            if remaining <= 0:
                return False
            watch.wait(min(remaining, interval))
    return True
