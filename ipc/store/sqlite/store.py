"""The store in SQLite: one file, opened once by each process."""

from __future__ import annotations

from ...home import Home
from .events import SqliteEvents
from .file.database import Database
from .hosts import SqliteHosts
from .limits import SqliteLimits
from .maintenance import SqliteMaintenance
from .queue import SqliteQueue
from .sessions import SqliteSessions
from .tasks import SqliteTasks


class SqliteStore(Database):
    """One process's connection to a home's database, and the operations of the store on it."""

    def __init__(self, home: Home, durability: str = "full") -> None:
        """Open the home's database, creating or migrating it if necessary.

        Raises NewerSchema, OlderProcesses, Permanent (not a database), Temporary (locked, full, unreadable now).
        """
        super().__init__(home, durability)
        self.queue = SqliteQueue(self)
        self.tasks = SqliteTasks(self)
        self.events = SqliteEvents(self)
        self.limits = SqliteLimits(self)
        self.hosts = SqliteHosts(self)
        self.sessions = SqliteSessions(self)
        self.maintenance = SqliteMaintenance(self)
