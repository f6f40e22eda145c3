"""The store in SQLite: one file, with one connection per process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...home import Home
from .events import SqliteEvents
from .file.database import Database
from .hosts import SqliteHosts
from .limits import SqliteLimits
from .maintenance import SqliteMaintenance
from .queue import SqliteQueue
from .sessions import SqliteSessions
from .tasks import SqliteTasks

if TYPE_CHECKING:
    from ..interface import EventStore, HostStore, LimitStore, MaintenanceStore, QueueStore, SessionStore, TaskStore


class SqliteStore(Database):
    """One process's connection to a home's database, and the operations of the store on it."""

    def __init__(self, home: Home, durability: str = "full") -> None:
        """Open the home's database. Create or migrate it if necessary.

        Raises:
            NewerSchema: A newer release has migrated the database.
            OlderProcesses: Processes of an older release run in the home.
            Permanent: The file is not a database.
            Temporary: The database is locked or unreadable now, or the disk is full.
        """
        super().__init__(home, durability)
        self.queue: QueueStore = SqliteQueue(self)
        self.tasks: TaskStore = SqliteTasks(self)
        self.events: EventStore = SqliteEvents(self)
        self.limits: LimitStore = SqliteLimits(self)
        self.hosts: HostStore = SqliteHosts(self)
        self.sessions: SessionStore = SqliteSessions(self)
        self.maintenance: MaintenanceStore = SqliteMaintenance(self)
