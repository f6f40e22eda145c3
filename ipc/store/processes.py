"""Wake registered processes, deregister dead processes, and wait until workers publish the tasks that they hold.

A held task belongs to its worker. Another process that wants to change it marks it as requested, wakes the worker
(SIGUSR1) and tries again. The worker publishes within about a millisecond: it settles the tasks that have ended, starts
the current task in the store, and returns the others to the queue. The supervisor kills a worker that does not respond.
"""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import TYPE_CHECKING

from .. import clock
from ..backoff import Backoff
from ..errors import HeldByWorker
from ..machine.presence import Presence

if TYPE_CHECKING:
    from .interface import Store

#: The roles whose processes are registered.
REGISTERED_ROLES = ("supervisor", "flusher", "worker")

#: The delay between the first two tries, and the maximum delay between later tries, in seconds.
FIRST_DELAY, LONGEST_DELAY = 0.001, 0.05

#: Seconds after which the supervisor is woken to check the worker.
ESCALATE_AFTER = 0.2

#: Seconds after which a process gives up. With default settings, the supervisor has killed the worker by then.
PUBLICATION_TIMEOUT = 15.0


def wake_process(store: Store, number: int) -> bool:
    """Send SIGUSR1 to a registered process, which then reads the store. Return True if it is alive."""
    process = store.hosts.process(number)
    return process is not None and process.identity.signal(signal.SIGUSR1)


def deregister_dead(store: Store) -> None:
    """Deregister the dead processes that own no running or held task."""
    owners = {running.owner.number for running in store.hosts.running() if running.owner}
    owners |= {holder.process.number for holder in store.hosts.holders()}
    presence = Presence(store.home)
    for role in REGISTERED_ROLES:
        for process in store.hosts.processes(role):
            if process.number not in owners and presence.is_dead(process.identity):
                store.hosts.deregister(process.number)


class Publication:
    """Waits, in one process, until workers have published their held tasks."""

    def __init__(self, store: Store, timeout: float = PUBLICATION_TIMEOUT) -> None:
        """Wait at most `timeout` seconds. With a timeout of 0, only wake the workers."""
        self._store = store
        self._began = clock.monotonic()
        self._timeout = timeout
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)

    def wait_for(self, owners: Collection[int]) -> None:
        """Wake the workers, then wait for the next try.

        Raises HeldByWorker after the timeout, or if a worker is dead and no supervisor runs that would rescue its
        tasks.
        """
        alive = [wake_process(self._store, owner) for owner in owners]
        waited = clock.monotonic() - self._began
        if waited >= self._timeout or not (all(alive) or self._is_supervised()):
            raise HeldByWorker
        if waited >= ESCALATE_AFTER:
            self._store.home.wake("supervisor")
        clock.nap(self._backoff.next_delay())

    def _is_supervised(self) -> bool:
        return Presence(self._store.home).is_held("supervisor")
