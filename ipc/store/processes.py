"""Wake a registered process, and deregister dead ones."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ..machine.presence import Presence

if TYPE_CHECKING:
    from .interface import Store

#: The roles whose processes are registered.
REGISTERED_ROLES = ("supervisor", "flusher", "worker")


def wake_process(store: Store, number: int) -> bool:
    """Send SIGUSR1 to a registered process, which then reads the store; return True if it is alive."""
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
