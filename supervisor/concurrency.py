"""The slots of all limit groups, without I/O. The supervisor assigns only slots that it has acquired here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from heapq import heappop, heappush

from ..ipc.config.limits import Limits
from ..ipc.config.settings import BackgroundConfig


class ConcurrencyManager:
    """Assigns slots by concurrency key, the lowest free number first, and never more in a group than its limit."""

    def __init__(self, config: BackgroundConfig | Limits | Mapping[str, object] | None = None) -> None:
        """Use the limits of a whole or partial configuration. Raises BadConfiguration."""
        self._limits = config if isinstance(config, Limits) else Limits.of(BackgroundConfig.of(config))
        self._slots: defaultdict[str, _Slots] = defaultdict(_Slots)

    def acquire(self, key: str) -> int | None:
        """Take a slot for a task with this key. Return None while its group is full."""
        return None if self.is_full(key) else self._slots[self._limits.group(key)].take()

    def is_full(self, key: str) -> bool:
        """Return True if all slots of this key's group are held."""
        limit = self.limit(key)
        return limit != 0 and self.in_use(self._limits.group(key)) >= limit

    def release(self, key: str, slot: int) -> None:
        """Give back a slot, by its key or by its group. Raises ValueError if it is not held."""
        held_by = key if self._holds(key, slot) else self._limits.group(key)
        if not self._holds(held_by, slot):
            raise ValueError(f"slot {slot} of {held_by!r} is not held")
        self._slots[held_by].free(slot)
        if not self._slots[held_by]:
            del self._slots[held_by]  # a key may be any text, so an unused one must take no memory

    def limit(self, key: str) -> int:
        """Return the number of tasks that may run at once in the group of this key. 0 means no limit."""
        return self._limits.limit(self._limits.group(key))

    def in_use(self, group: str) -> int:
        """Return the number of held slots of a group."""
        return len(self._slots[group]) if group in self._slots else 0

    def hold(self, group: str, slot: int) -> None:
        """Record that a slot is in use, even above the limit. Raises ValueError if it is held already."""
        if slot < 0 or self._holds(group, slot):
            raise ValueError(f"slot {slot} of {group!r} is invalid or already held")
        self._slots[group].hold(slot)

    def use(self, limits: Limits) -> None:
        """Apply other limits from now on. Held slots stay held, even above a lower limit."""
        self._limits = limits

    def clear(self) -> None:
        """Forget every slot that is held."""
        self._slots.clear()

    def _holds(self, group: str, slot: int) -> bool:
        return group in self._slots and slot in self._slots[group]


class _Slots:
    """The held slots of one group, and a heap of the released slots, so that no search is needed."""

    def __init__(self) -> None:
        self._held: set[int] = set()
        self._released: list[int] = []
        self._fresh = 0  # no slot with this or a higher number was ever released

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, slot: int) -> bool:
        return slot in self._held

    def take(self) -> int:
        slot = heappop(self._released) if self._any_released() else self._lowest_fresh()
        self._held.add(slot)
        return slot

    def hold(self, slot: int) -> None:
        self._held.add(slot)

    def free(self, slot: int) -> None:
        self._held.remove(slot)
        if slot < self._fresh:
            heappush(self._released, slot)

    def _any_released(self) -> bool:
        while self._released and self._released[0] in self._held:
            heappop(self._released)  # it was held again, by its number
        return bool(self._released)

    def _lowest_fresh(self) -> int:
        while self._fresh in self._held:
            self._fresh += 1
        return self._fresh
