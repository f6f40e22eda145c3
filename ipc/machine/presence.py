"""The living processes of a home."""

from __future__ import annotations

import json

from ..home import Home, folder_id
from .identity import Identity
from .lock import Lock, description, holder

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
        """Return True if a process has the role and can reach the home."""
        return self.holder(role) is not None and self._old_path(role) is None

    def version(self, role: str) -> str | None:
        """Return the version of the program that runs in a role, or None if it is unknown."""
        return self._description(role).get("version")

    def moved_from(self, role: str) -> str | None:
        """Return the path from which the home was moved while a process had the role, or None.

        Such a process still uses the old path, and so it cannot reach the database.
        """
        return None if self.holder(role) is None else self._old_path(role)

    def _old_path(self, role: str) -> str | None:
        path = self._description(role).get("home")
        is_here = path is None or path == str(self._home.folder) or folder_id(path) == self._home.id
        return None if is_here else path

    def _description(self, role: str) -> dict[str, str]:
        try:
            found = json.loads(description(self._home.lock(role)))
        except ValueError:  # an earlier release wrote nothing
            return {}
        return found if isinstance(found, dict) else {}

    def process(self, role: str) -> Identity | None:
        """Return the process that has a role, or None if no process has it or it is in another PID namespace."""
        pid = self.holder(role)
        return Identity.of(pid) if pid else None

    def is_dead(self, process: Identity) -> bool:
        """Return True if a process is proved dead. A process in another PID namespace counts as alive."""
        return process.alive() is False


def take_role(home: Home, lock: Lock) -> bool:
    """Take the lock of a role, and describe this process in its file. Return False if another process has the role."""
    from .distribution import version  # a launch does not need it

    if not lock.acquire():
        return False
    lock.describe(json.dumps({"home": str(home.folder), "version": version()}))
    return True
