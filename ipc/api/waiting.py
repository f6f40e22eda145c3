"""Waiting until the process trees of cancelled tasks are gone, whoever ends them."""

from __future__ import annotations

from collections.abc import Collection

from .. import clock
from ..backoff import Backoff
from ..bus.client import Client
from ..errors import Disconnected, NoSupervisor
from ..machine.presence import Presence
from ..store.queue import Queue
from ..store.values import Running
from . import control

#: Milliseconds after which one looks whether those who end a tree still live.
LOOK_MS = 1000


def wait_until_gone(queue: Queue, ids: Collection[str]) -> None:
    """Return when none of these tasks runs any more under the claim that it has now.

    Their verdicts must have been written. Where neither a supervisor nor a task's own worker lives, this
    process has the tree ended. Raises Temporary.
    """
    claims = {one.claim for one in _running(queue) if one.id in ids}
    presence, backoff = Presence(queue.home), Backoff()
    with Client(queue.home) as client:
        while left := [one for one in _running(queue) if one.claim in claims]:
            if not presence.is_held("supervisor") and any(one.is_orphaned(presence) for one in left):
                control.rescue(queue.home)
            else:
                _rest(client, left, backoff)


def _running(queue: Queue) -> list[Running]:
    return queue.store.hosts.running()


def _rest(client: Client, left: Collection[Running], backoff: Backoff) -> None:
    """Until one of them has ended, but not for long."""
    try:
        client.call("wait", ids=[one.id for one in left], any=True, timeoutMs=LOOK_MS)
    except (NoSupervisor, Disconnected):
        clock.nap(backoff.next_delay())
