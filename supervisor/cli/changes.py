"""Learning that something happened in a home: from the bus while it is there, else by looking."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Self

from ...ipc import clock
from ...ipc.backoff import Backoff
from ...ipc.bus.client import EVERYONE, Client
from ...ipc.errors import BackburnerError
from ...ipc.machine.presence import Presence
from ...ipc.store.events import EventLog
from .context import Desk

#: The rests between two looks at the database, in seconds; while the bus tells all, a look only makes sure.
FIRST_DELAY, LONGEST_DELAY, RARE = 0.01, 0.2, 2.0


class Watch:
    """Wakes its owner when something may have changed. Nothing that happens after its making is missed."""

    def __init__(self, desk: Desk) -> None:
        """Begin to listen."""
        self._database, self._presence = desk.database, Presence(desk.home)
        self._seen = self._database.changed()
        self._told = threading.Event()
        self._backoff = Backoff(FIRST_DELAY, RARE, 1.5)
        self._client = Client(desk.home)
        after = EventLog(self._database).last_seq()
        self._listener = threading.Thread(target=self._listen, args=(after,), name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Hang up."""
        self._client.close()
        self._listener.join()

    def rest(self, most: float | None = None) -> bool:
        """Return as soon as something may have changed, or after `most` seconds; which of the two it was."""
        end = None if most is None else clock.monotonic() + most
        while not self._woken():
            left = float("inf") if end is None else end - clock.monotonic()
            if left <= 0:
                return False
            self._told.wait(min(left, self._backoff.next_delay(), self._longest()))
        self._backoff.reset()
        return True

    def _woken(self) -> bool:
        told = self._told.is_set()
        self._told.clear()
        seen, self._seen = self._seen, self._database.changed()
        return told or seen != self._seen

    def _longest(self) -> float:
        return RARE if self._presence.is_held("flusher") else LONGEST_DELAY

    def _listen(self, after: int) -> None:
        with suppress(BackburnerError):
            for _event in self._client.events(EVERYONE, after=after):
                self._told.set()
