"""Tasks that nobody looks after: no supervisor lives, nor the worker that ran them."""

from __future__ import annotations

from collections.abc import Collection

from ...ipc.machine.presence import Presence
from ...ipc.store.processes import ProcessTable
from .context import Desk


def settle_orphans(desk: Desk, ids: Collection[str]) -> None:
    """End what is left of those among these tasks, and settle them: a verdict was written, somebody has to."""
    presence = Presence(desk.home)
    if presence.is_held("supervisor"):
        return
    from ..pool.recovery import rescue_all

    running = [one for one in ProcessTable(desk.database).running() if one.id in ids]
    if any(one.is_orphaned(presence) for one in running):
        rescue_all(desk.home)
