"""A watchdog for a process that others wait for. If it stays stopped, it is continued, and finally killed."""

from __future__ import annotations

import os
import signal

from .. import clock
from ..failpoints import failpoint
from .proc import command_line, is_stopped, name

#: Seconds that others must have waited for the same process before it is continued.
CONTINUE_AFTER = 1.0

#: Seconds from then until the process is killed, if it is still stopped and belongs to this program.
KILL_AFTER = 2.0


class Watchdog:
    """Remembers, from one check to the next, the process that others wait for."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._since = 0.0
        self._continued_at = 0.0

    @property
    def is_watching(self) -> bool:
        """Return True if others waited for a process at the last check."""
        return self._pid is not None

    def check(self, pid: int | None) -> None:
        """Continue or kill the process that others wait for, if it was stopped for too long. None means no process."""
        now = clock.monotonic()
        if pid != self._pid:
            self._pid, self._since, self._continued_at = pid, now, 0.0
        if pid is None or now - self._since < CONTINUE_AFTER or not is_stopped(pid):
            return
        if not self._continued_at:
            self._continued_at = now
            _signal(pid, signal.SIGCONT)
        elif now - self._continued_at > KILL_AFTER and is_ours(pid):
            _signal(pid, signal.SIGKILL)


def is_ours(pid: int) -> bool:
    """Return True for a role or a command of this program. Other programs that use the library are never killed."""
    arguments = command_line(pid)
    is_command = any(os.path.basename(arg) == "backburner" or "backburner.supervisor.cli" in arg for arg in arguments)
    return is_command or (name(pid) or "").startswith("bb-")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        with failpoint("holder.signal"):
            os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
