"""Change limits, pause keys, and wait until workers hold no tasks of a group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..config.limits import Limits
from ..config.settings import BackgroundConfig
from .processes import PUBLICATION_TIMEOUT, Publication, wake_process
from .values import Group

if TYPE_CHECKING:
    from .interface import Store


class Groups:
    """The limit groups of a home."""

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        """Work on this store; `config` has the configured limits and the default."""
        self._store = store
        self._config = config
        #: Seconds to wait for workers that hold tasks. A process that serves others sets 0, and tries again.
        self.publication_timeout = PUBLICATION_TIMEOUT

    def limits(self) -> Limits:
        """Return the limits in force."""
        return self._store.limits.limits(self._config)

    def all(self) -> list[Group]:
        """Return every group that has tasks or its own limit, or is paused."""
        return self._store.limits.groups()

    def configure(self) -> set[int]:
        """Apply the configured limits and regroup all tasks.

        If workers hold tasks, change nothing, request that they publish their tasks, and return these workers. The
        caller then tries again. Workers take one task at a time until a try succeeds, so that they soon hold none.
        """
        holders = self._store.limits.configure(self._config)
        for owner in holders:
            wake_process(self._store, owner)
        return holders

    def limit(self, key: str, limit: int | None) -> str:
        """Set a limit that survives restarts, and return the key's group.

        A limit of 0 means unlimited. None restores the configured limit. Raises HeldByWorker. Without a publication
        timeout, workers then take one task at a time until a further try succeeds, so that they soon hold none.
        """
        publication = Publication(self._store, self.publication_timeout)
        try:
            while holders := self._store.limits.set_limit(key, limit, self._config):
                publication.wait_for(holders)
        except BaseException:
            if self.publication_timeout:
                self._store.limits.set_single(False)
            raise
        self._store.home.wake("supervisor", "limits")
        return self.limits().group(key)

    def pause(self, key: str) -> str:
        """Stop starting tasks of a key's group, and return the group.

        After this method has returned, no task of the group starts. If it raises HeldByWorker, the group is paused, but
        a task that a worker holds may still start.
        """
        group, holders = self._store.limits.pause(key, True, self._config)
        self._store.home.wake("supervisor", "limits")
        if holders:
            wait_until_published(self._store, group, self.publication_timeout)
        return group

    def row(self, name: str) -> Group:
        """Return a group. It may have no tasks and no separate limit."""
        known = next((group for group in self.all() if group.name == name), None)
        return known or Group(name, self.limits().limit(name), 0, 0, False)

    def resume(self, key: str) -> str:
        """Start tasks of a key's group again, and return the group."""
        group, _ = self._store.limits.pause(key, False, self._config)
        self._store.home.wake("supervisor", "limits")
        return group


def wait_until_published(store: Store, group: str | None, timeout: float = PUBLICATION_TIMEOUT) -> None:
    """Wait until no worker holds a task of a group, or of any group if it is None. Raises HeldByWorker.

    Workers may take further tasks during the wait. To prevent this, pause the group or use `taking_one_at_a_time`.
    """
    publication = Publication(store, timeout)
    while holders := store.limits.request_held(group):
        publication.wait_for(holders)


@contextmanager
def taking_one_at_a_time(store: Store) -> Iterator[None]:
    """Let workers take one task at a time in the block, so that they hold no others.

    If this process dies, workers take one task at a time until limits are applied again. They are only slower then.
    """
    store.limits.set_single(True)
    try:
        yield
    finally:
        store.limits.set_single(False)


def publish_all(store: Store) -> None:
    """Wait until no worker holds a task. Workers may take tasks again afterwards. Raises HeldByWorker."""
    with taking_one_at_a_time(store):
        wait_until_published(store, None)
