"""The store in SQLite: one file, which each process opens once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .file.database import Database

if TYPE_CHECKING:
    from ..interface import EventStore, HostStore, LimitStore, MaintenanceStore, QueueStore, SessionStore, TaskStore

Part = TypeVar("Part")


class _Lazy(Generic[Part]):
    """A part of the store, in the module of its name. It is imported at its first use: most commands need one part."""

    def __init__(self, class_name: str) -> None:
        self._class_name = class_name

    def __set_name__(self, owner: type[SqliteStore], name: str) -> None:
        self._name = name

    def __get__(self, store: SqliteStore, owner: type[SqliteStore]) -> Part:
        part: Part = self.load()(store)
        vars(store)[self._name] = part  # later uses find it there
        return part

    def load(self) -> Any:
        """Import the module and return the class."""
        return getattr(import_module(f".{self._name}", __package__), self._class_name)


class SqliteStore(Database):
    """One process's connection to a home's database, and the operations of the store on it."""

    queue: _Lazy[QueueStore] = _Lazy("SqliteQueue")
    tasks: _Lazy[TaskStore] = _Lazy("SqliteTasks")
    events: _Lazy[EventStore] = _Lazy("SqliteEvents")
    limits: _Lazy[LimitStore] = _Lazy("SqliteLimits")
    hosts: _Lazy[HostStore] = _Lazy("SqliteHosts")
    sessions: _Lazy[SessionStore] = _Lazy("SqliteSessions")
    maintenance: _Lazy[MaintenanceStore] = _Lazy("SqliteMaintenance")
