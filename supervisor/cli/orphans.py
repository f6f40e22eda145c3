"""Tasks that nobody looks after: no supervisor lives, nor the worker that ran them."""

from __future__ import annotations

from collections.abc import Collection

from ...ipc.machine.lock import holder
from ...ipc.store.processes import ProcessTable
from .context import Desk


def settle_orphans(desk: Desk, ids: Collection[str]) -> None:
    """End what is left of those among these tasks, and settle them: a verdict was written, somebody has to."""
    if holder(desk.home.lock("supervisor")) is not None:
        return
    from ..pool.recovery import is_dead, rescue_all

    running = [one for one in ProcessTable(desk.database).running() if one.id in ids]
    if any(is_dead(one) for one in running):
        rescue_all(desk.home)
