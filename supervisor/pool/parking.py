"""The worker's side of parking. A parked worker waits in its slot for a task that a launch claims for it."""

from __future__ import annotations

import os
from collections.abc import Callable

from ...ipc import clock
from ...ipc.home import Home
from ...ipc.model.claim import Taken
from ...ipc.store.interface import QueueStore
from ...ipc.store.parking import decode_message, pipe_of
from ..system.file_watch import FALLBACK_POLL


class Parking:
    """Receives the task of a parked worker, from a message, or from the database if the message is missing.

    A message counts only while the worker is parked, and only if its claim is higher than the worker's last claim. No
    claim is used twice, and only the launch that deleted the worker's row claims a task for it.
    """

    def __init__(self, home: Home, slots: QueueStore, owner: int, poll: Callable[[], float]) -> None:
        """Create the pipe that launches write to. `poll` returns the seconds until the next look. Raises OSError."""
        self._slots, self._owner, self._poll = slots, owner, poll
        home.create_wake_pipe(pipe_of(owner))
        path = home.folder / f"{pipe_of(owner)}.wake"
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        #: True while the worker is parked, as far as it knows. The supervisor may have taken the slot back.
        self.active = False
        #: The last claim that the worker took.
        self.last_claim = 0
        self._message: Taken | None = None
        self._look_at = self._ends_at = 0.0

    def start(self, seconds: float) -> None:
        """Wait for a task for up to `seconds`."""
        self.active, self._message = True, None
        now = clock.monotonic()
        self._ends_at = now + seconds
        self._look_at = now + FALLBACK_POLL

    def stop(self) -> None:
        """Stop waiting, because the worker has a task or the supervisor has taken the slot back."""
        self.active, self._message = False, None

    def rest(self) -> float:
        """Return the seconds until the next action, if no message arrives."""
        return max(0.0, min(self._look_at, self._ends_at) - clock.monotonic())

    def is_over(self) -> bool:
        """Return True if the waiting time is over."""
        return clock.monotonic() >= self._ends_at

    def look(self) -> None:
        """Make the next `find` look at the database."""
        self._look_at = 0.0

    def read(self, _mask: int) -> None:
        """Read the messages of launches."""
        for line in os.read(self.descriptor, 65536).splitlines():
            taken = decode_message(line)
            if taken is None:
                self.look()
            elif taken.claim > self.last_claim:
                self._message = taken

    def find(self) -> Taken | None:
        """Return the task that was claimed for this worker, or None."""
        taken, self._message = self._message, None
        if taken is None and clock.monotonic() >= self._look_at:
            taken = self._slots.assigned(self._owner)
            self._look_at = clock.monotonic() + self._poll()
        return taken

    def give_back(self) -> bool:
        """Give the slot back. Return False if a launch or the supervisor was faster."""
        return self._slots.unpark(self._owner)

    def assigned(self) -> Taken | None:
        """Return the task that was claimed for this worker according to the database, or None."""
        return self._slots.assigned(self._owner)
