"""A process that was stopped while it held the write gate keeps everybody out: have it go on, or else go."""

from __future__ import annotations

import os
import signal

from .. import clock
from ..failpoints import failpoint
from .proc import command_line, is_stopped, name

#: Seconds for which the same process must have held the gate before it is looked at.
SUSPICION = 1.0

#: Seconds after it was continued until it is ended, if it is one of ours and still holds the gate, stopped.
LAST_CHANCE = 2.0


class Thaw:
    """What is known of the process that holds the gate, from one look to the next."""

    def __init__(self) -> None:
        """Nobody is suspected yet."""
        self._holder: int | None = None
        self._since = 0.0
        self._continued = 0.0

    @property
    def suspects(self) -> bool:
        """Return True if the last `look` was given a process."""
        return self._holder is not None

    def look(self, holder: int | None) -> None:
        """Take note of who holds the gate now; continue or end it when it has been stopped for too long."""
        now = clock.monotonic()
        if holder != self._holder:
            self._holder, self._since, self._continued = holder, now, 0.0
        if holder is None or now - self._since < SUSPICION or not is_stopped(holder):
            return
        if not self._continued:
            self._continued = now
            _signal(holder, signal.SIGCONT)
        elif now - self._continued > LAST_CHANCE and is_ours(holder):
            _signal(holder, signal.SIGKILL)


def is_ours(pid: int) -> bool:
    """Return True for a role or a command of this program. Another program that uses the library is only continued."""
    words = command_line(pid)
    is_command = any(os.path.basename(word) == "backburner" or "backburner.supervisor.cli" in word for word in words)
    return is_command or (name(pid) or "").startswith("bb-")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        with failpoint("holder.signal"):
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
