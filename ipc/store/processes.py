"""The processes of this program: waking one, and deleting the dead."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interface import Store

#: The roles whose processes are registered.
ROLES = ("supervisor", "flusher", "worker")


def wake_process(store: Store, number: int) -> bool:
    """Have a registered process look at the store again (SIGUSR1); return True if it lives."""
    process = store.hosts.process(number)
    return process is not None and process.identity.signal(signal.SIGUSR1)


def deregister_dead(store: Store) -> None:
    """Delete the dead processes to which no running or held task refers any more."""
    owners = {running.owner.number for running in store.hosts.running() if running.owner}
    owners |= {holder.process.number for holder in store.hosts.holders()}
    for role in ROLES:
        for process in store.hosts.processes(role):
            if process.number not in owners and process.identity.alive() is False:
                store.hosts.deregister(process.number)
