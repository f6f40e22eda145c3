"""The limits that hold over all state directories of the user, as the supervisor of one of them sees them.

A task with a key of such a limit needs a shared slot besides the slot of its group. The supervisor takes the shared
slot when it assigns the other one to a worker, and the worker frees it with the settlement. Worker, fork server and
supervisor hold it together. It is free only when the tree of a killed worker is gone and its task is settled.
"""

from __future__ import annotations

import selectors
from collections.abc import Mapping

from ...ipc import clock
from ...ipc.config.limits import SharedPools
from ...ipc.home import Home
from ...ipc.machine.shared_slots import SharedSlot, SlotPipe
from ..log import log

#: Seconds between two looks at a pool whose slots are all taken. A freed slot usually wakes the supervisor earlier.
LOOK_INTERVAL = 2.0

#: Seconds until the next try after another process has been faster.
RETRY_INTERVAL = 0.01


class SharedLimits:
    """Which groups need a shared slot, and which pools are full."""

    def __init__(self, home: Home, selector: selectors.BaseSelector) -> None:
        """Set no limits yet."""
        self._home = home
        self._selector = selector
        self._pools = SharedPools({})
        #: For each pool that was full, the time (seconds, monotonic) of the next look.
        self._full: dict[str, float] = {}
        self._probe: SharedSlot | None = None
        self._pipe: SlotPipe | None = None
        self._warned = False

    @property
    def active(self) -> bool:
        """Return True if there are shared limits."""
        return bool(self._pools.limits)

    def configure(self, limits: Mapping[str, int]) -> None:
        """Apply the setting `shared_limits`."""
        self._pools = SharedPools(limits)
        self._full.clear()
        self._warned = False
        self._close()

    def pool(self, key: str) -> str | None:
        """Return the pool in which a task with this key needs a slot, or None."""
        return self._pools.pool(key) if self._pools.limits else None

    def is_mixed(self, group: str) -> bool:
        """Return True if the tasks of a limit group may need slots of different pools, or some of them none."""
        return self.active and len(self._pools.pools(group)) > 1

    def is_full(self, pool: str | None) -> bool:
        """Return True if all slots of a pool are taken. The answer counts until a slot is freed, or for a while."""
        if pool is None:
            return False
        if self._full.get(pool, 0.0) > clock.monotonic():
            return True
        probe = self._current_probe()
        if probe is None or self._has_room(probe, pool):
            self._full.pop(pool, None)
            return False
        if self._listen() and self._has_room(probe, pool):  # a slot was freed before the pipe was open
            return False
        self._full[pool] = clock.monotonic() + LOOK_INTERVAL
        return True

    def open(self) -> SharedSlot | None:
        """Return a description for a new worker, or None if there are no shared limits or the file cannot be used."""
        if not self.active:
            return None
        try:
            return SharedSlot.open(self._pools.limits)
        except OSError as error:
            self._warn(error)
            return None

    def take(self, slot: SharedSlot | None, pool: str) -> bool:
        """Take a slot for a worker. Return False if all are taken. A worker without a description needs none."""
        try:
            taken = slot is None or slot.take(pool, self._pools.limits[pool])
        except OSError as error:
            self._warn(error)
            return True
        if not taken and not self.is_full(pool):  # one was freed meanwhile
            self._full[pool] = clock.monotonic() + RETRY_INTERVAL
        return taken

    def fits(self, slot: SharedSlot | None) -> bool:
        """Return True if a worker with this description can run a task that needs a shared slot."""
        return self._current_probe() is None if slot is None else slot.is_current()

    def rest(self) -> float:
        """Return the seconds until a full pool must be looked at again, or infinity."""
        now = clock.monotonic()
        return min((at - now for at in self._full.values() if at > now), default=float("inf"))

    def close(self) -> None:
        """Stop waiting for slots."""
        self._full.clear()
        self._close()

    def _has_room(self, probe: SharedSlot, pool: str) -> bool:
        return probe.count(pool) < self._pools.limits[pool]

    def _current_probe(self) -> SharedSlot | None:
        """Return the description with which taken slots are counted. Return None if the file cannot be used."""
        if self._probe is not None and not self._probe.is_current():
            self._probe.close()
            self._probe = None
        if self._probe is None:
            self._probe = self.open()
        return self._probe

    def _listen(self) -> bool:
        """Wait for freed slots. Return True if this was not done before."""
        if self._pipe is not None:
            return False
        try:
            self._pipe = SlotPipe(self._home.folder)
        except OSError as error:
            self._warn(error)
            return False
        self._selector.register(self._pipe, selectors.EVENT_READ, self._wake)
        return True

    def _wake(self, _mask: int) -> None:
        if self._pipe is None:
            return
        self._pipe.read()
        self._full.clear()

    def stop_waiting(self) -> None:
        """Close the pipe if no pool is full, so that this supervisor is not woken for nothing."""
        if self._pipe is not None and self.rest() == float("inf"):
            self._selector.unregister(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _close(self) -> None:
        self.stop_waiting()
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            log("shared_limits_off", why=error)
