"""Limit groups: which keys share a limit, how high it is, what is paused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .. import clock
from ..config.limits import Limits
from ..config.settings import BackgroundConfig
from .claiming import free_slot
from .processes import wake_process
from .publication import Publication
from .sqlite.database import Database, Transaction


class Group(NamedTuple):
    """A limit group as it is now. `limit` 0 means: no limit of its own."""

    name: str
    limit: int
    running: int
    pending: int
    paused: bool


class Head(NamedTuple):
    """The first ready task of a group: its number, whether it is external, how many are ready, itself included.

    `queued_at` is when it was launched, in milliseconds since 1970.
    """

    number: int
    external: bool
    ready: int
    queued_at: int


class Groups:
    """The limit groups of a home."""

    def __init__(self, database: Database, config: BackgroundConfig) -> None:
        """Work on this database; `config` has the configured limits and the default."""
        self.database = database
        self.home = database.home
        self.config = config

    def limits(self) -> Limits:
        """The limits in force."""
        with self.database.read() as transaction:
            return load_limits(transaction, self.config)

    def all(self) -> list[Group]:
        """Every group that has tasks, a limit of its own, or is paused."""
        with self.database.read() as transaction:
            rows = transaction.all("list_groups")
        return [
            Group(row["name"], row["slot_limit"], row["running"], row["pending"], bool(row["paused"])) for row in rows
        ]

    def waiting(self) -> list[tuple[int, str]]:
        """The first waiting task of each group that has one and is not paused: its number, and the group."""
        with self.database.read() as transaction:
            return [(row["head"], row["limit_group"]) for row in transaction.all("list_waiting_groups")]

    def head(self, group: str, most: int) -> Head | None:
        """The first waiting task of a group that is not paused, or None; those that wait are counted up to `most`."""
        with self.database.read() as transaction:
            row = transaction.one("count_ready", {"limit_group": group, "limit": most})
        return None if row is None else Head(row["number"], row["agent"] == "external", row["ready"], row["queued_at"])

    def configure(self) -> set[int]:
        """Apply the configured limits, and put every key's tasks into its group.

        While workers hold tasks nothing changes: return these workers, which were asked to publish them. Workers take
        one task at a time until it is done, so the next tries come to an end.
        """

        def configure(transaction: Transaction) -> None:
            transaction.run("clear_configured_limits")
            for name, most in self.config.model_concurrency.items():
                transaction.run("configure_group", {"name": name, "slot_limit": most})

        holders = self._change_limits(configure)
        for owner in holders:
            wake_process(self.database, owner)
        return holders

    def limit(self, key: str, most: int | None) -> str:
        """Set a limit that lasts over restarts (0: unlimited, None: as configured); return the group that it is for.

        Raises HeldByWorker.
        """

        def limit(transaction: Transaction) -> None:
            transaction.run("set_live_limit", {"name": key, "live": most, "default": self.config.default_concurrency})

        publication = Publication(self.database)
        try:
            while holders := self._change_limits(limit):
                publication.wait_for(holders)
        except BaseException:
            _set_single(self.database, 0)
            raise
        self.home.wake("supervisor", "limits")
        return self.limits().group(key)

    def _change_limits(self, change: Callable[[Transaction], None]) -> set[int]:
        """Change limits and regroup in one transaction, if no worker holds a task; else return the workers that do."""
        with self.database.write() as transaction:
            holders = request_held(transaction, None)
            transaction.run("set_single", {"single": bool(holders)})
            if not holders:
                change(transaction)
                regroup(transaction, self.config)
        return holders

    def pause(self, key: str, paused: int) -> str:
        """Stop (1) or resume (0) giving out a key's group; return the group.

        When a pause returns, no task of the group starts any more. Raises HeldByWorker: it is paused then, but a task
        that a worker holds may still start.
        """
        with self.database.write() as transaction:
            group = ensure(transaction, load_limits(transaction, self.config), key)
            transaction.run("pause_group", {"name": group, "paused": paused})
            holders = request_held(transaction, group) if paused else set()
        self.home.wake("supervisor", "limits")
        if holders:
            wait_until_published(self.database, group)
        return group


def wait_until_published(database: Database, group: str | None) -> None:
    """Return when no worker holds a task of a group (None: of any). Raises HeldByWorker.

    While tasks are ready and may be started, workers take others: pause the group first, or see `taking_one_at_a_time`.
    """
    publication = Publication(database)
    while holders := _holders(database, group):
        publication.wait_for(holders)


@contextmanager
def taking_one_at_a_time(database: Database) -> Iterator[None]:
    """Have workers hold no further tasks meanwhile.

    If this process dies, workers take one task at a time until limits are applied again: that is only slower.
    """
    _set_single(database, 1)
    try:
        yield
    finally:
        _set_single(database, 0)


def publish_all(database: Database) -> None:
    """Return after a moment at which no worker held a task. Raises HeldByWorker."""
    with taking_one_at_a_time(database):
        wait_until_published(database, None)


def _holders(database: Database, group: str | None) -> set[int]:
    with database.write(durable=False) as transaction:
        return request_held(transaction, group)


def _set_single(database: Database, single: int) -> None:
    with database.write(durable=False) as transaction:
        transaction.run("set_single", {"single": single})


def request_held(transaction: Transaction, group: str | None) -> set[int]:
    """Ask the workers that hold tasks of a group (None: of any) to publish them; return their numbers."""
    return {
        row["owner"] for row in transaction.all("request_held_of_group", {"limit_group": group, "now": clock.now()})
    }


def ensure(transaction: Transaction, limits: Limits, key: str) -> str:
    """The group that a key's tasks can be counted in."""
    group = limits.group(key)
    transaction.run("ensure_group", {"limit_group": group, "slot_limit": limits.limit(group)})
    return group


def assign(transaction: Transaction, limits: Limits, key: str) -> str:
    """As `ensure`, for a key that there is a task of: it is remembered, and follows when limits change."""
    group = ensure(transaction, limits, key)
    transaction.run("ensure_key", {"key": key, "limit_group": group})
    return group


def load_limits(transaction: Transaction, config: BackgroundConfig) -> Limits:
    """The limits in force: the database's, once a supervisor has applied a configuration, else this process's own."""
    rows = transaction.all("list_limits")
    configured = {row["name"]: row["configured"] for row in rows if row["configured"] is not None}
    live = {row["name"]: row["live"] for row in rows if row["live"] is not None}
    default = transaction.setting("default_concurrency")
    if default is None:
        return Limits(config.default_concurrency, config.model_concurrency, live)
    return Limits(int(default), configured, live)


def regroup(transaction: Transaction, config: BackgroundConfig) -> None:
    """Put every known key, with its pending and running tasks, into the group that the limits say; note the limits."""
    limits = load_limits(transaction, config)
    for row in transaction.all("list_keys"):
        group = limits.group(row["name"])
        if group != row["limit_group"]:
            values = {
                "key": row["name"],
                "was": row["limit_group"],
                "limit_group": group,
                "slot_limit": limits.limit(group),
            }
            _move(transaction, values)
    transaction.run("delete_empty_groups")
    for row in transaction.all("list_groups"):
        transaction.run("set_slot_limit", {"name": row["name"], "slot_limit": limits.limit(row["name"])})
    transaction.run("bump_limits")


def _move(transaction: Transaction, values: dict[str, Any]) -> None:
    transaction.run("ensure_group", values)
    transaction.run("move_key", values)
    transaction.run("move_pending", values)
    for row in transaction.all("list_running_of_key", values):
        slot = free_slot(transaction, values["limit_group"])
        transaction.run("move_running", {**values, "number": row["number"], "slot": slot})
