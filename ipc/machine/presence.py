"""Which processes of a home are alive."""

from __future__ import annotations

from ..home import Home
from .identity import Identity
from .lock import holder


class Presence:
    """Answers which processes have the roles of a home, and which ones are dead. The kernel proves both.

    A role is named as its lock: `supervisor`, `flusher` or `forkserver`.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def holder(self, role: str) -> int | None:
        """Return the PID of the process that has a role, or None; 0 is a process in another PID namespace."""
        return holder(self._home.lock(role))

    def is_held(self, role: str) -> bool:
        """Return True if a process has that role."""
        return self.holder(role) is not None

    def process(self, role: str) -> Identity | None:
        """Return the process that has a role, or None if there is none or it is in another PID namespace."""
        pid = self.holder(role)
        return Identity.of(pid) if pid else None

    def is_dead(self, process: Identity) -> bool:
        """Return True if a process is proved dead. One in another PID namespace cannot be, and counts as alive."""
        return process.alive() is False
