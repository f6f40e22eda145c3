"""The living processes of a home."""

from __future__ import annotations

from ..home import Home
from .identity import Identity
from .lock import holder

#: The roles that only one process of a home can have at a time. Each role is also the name of its lock.
ROLES = ("supervisor", "flusher", "forkserver")


class Presence:
    """Finds the processes that have the roles of a home, and checks if a process is dead. The kernel proves both."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def holder(self, role: str) -> int | None:
        """Return the PID of the process that has a role, or None. 0 stands for a process in another PID namespace.

        `role` may also be the name of any other lock of the home.
        """
        return holder(self._home.lock(role))

    def is_held(self, role: str) -> bool:
        """Return True if a process has the role."""
        return self.holder(role) is not None

    def process(self, role: str) -> Identity | None:
        """Return the process that has a role, or None if no process has it or it is in another PID namespace."""
        pid = self.holder(role)
        return Identity.of(pid) if pid else None

    def is_dead(self, process: Identity) -> bool:
        """Return True if a process is proved dead. A process in another PID namespace counts as alive."""
        return process.alive() is False
