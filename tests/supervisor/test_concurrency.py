from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backburner.ipc.config.limits import Limits
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.errors import BadConfiguration
from backburner.supervisor.concurrency import ConcurrencyManager

KEYS = st.sampled_from(["opus", "free", "anthropic/a", "anthropic/b", "other"])
TABLES = st.fixed_dictionaries({"opus": st.integers(1, 3), "free": st.just(0), "anthropic/*": st.integers(1, 4)})


def test_slots_are_numbered_from_zero_up_to_the_limit():
    manager = ConcurrencyManager({"model_concurrency": {"opus": 2}})
    assert [manager.acquire("opus") for _ in range(4)] == [0, 1, None, None]


def test_lowest_free_slot_is_acquired_first():
    manager = ConcurrencyManager({"default_concurrency": 5})
    for _ in range(5):
        manager.acquire("a")
    for slot in (3, 1, 4):
        manager.release("a", slot)
    assert [manager.acquire("a") for _ in range(3)] == [1, 3, 4]


def test_groups_have_separate_slots():
    manager = ConcurrencyManager(BackgroundConfig(default_concurrency=1))
    assert [manager.acquire("a"), manager.acquire("b"), manager.acquire("a")] == [0, 0, None]


def test_keys_of_a_pattern_share_its_slots():
    manager = ConcurrencyManager({"model_concurrency": {"anthropic/*": 2}})
    assert [manager.acquire(f"anthropic/{model}") for model in "abc"] == [0, 1, None]
    assert manager.in_use("anthropic/*") == 2
    manager.release("anthropic/a", 1)
    assert manager.acquire("anthropic/c") == 1


def test_limit_of_zero_is_unlimited():
    manager = ConcurrencyManager({"default_concurrency": 0})
    assert [manager.acquire("a") for _ in range(1000)] == list(range(1000))


def test_default_limits_apply_without_a_configuration():
    manager = ConcurrencyManager()
    assert [manager.limit(key) for key in ("opus", "sonnet", "haiku", "other")] == [2, 3, 5, 3]


def test_invalid_configuration_is_refused():
    with pytest.raises(BadConfiguration, match="default_concurrency"):
        ConcurrencyManager({"default_concurrency": -1})


@pytest.mark.parametrize("slot", [0, 1, -1])
def test_slot_that_is_not_held_cannot_be_released(slot):
    manager = ConcurrencyManager()
    manager.acquire("other")
    manager.release("other", 0)
    with pytest.raises(ValueError, match=f"slot {slot} of 'other' is not held"):
        manager.release("other", slot)


def test_slot_cannot_be_held_twice():
    manager = ConcurrencyManager()
    manager.hold("opus", 1)
    with pytest.raises(ValueError, match="slot 1"):
        manager.hold("opus", 1)
    with pytest.raises(ValueError, match="slot -1"):
        manager.hold("opus", -1)


def test_held_slots_are_not_acquired_again_after_a_rebuild():
    manager = ConcurrencyManager({"model_concurrency": {"opus": 3}})
    manager.hold("opus", 1)
    assert [manager.acquire("opus") for _ in range(3)] == [0, 2, None]


def test_slot_released_and_held_again_is_not_acquired():
    manager = ConcurrencyManager(Limits(4))
    for _ in range(3):
        manager.acquire("a")
    manager.release("a", 1)
    manager.hold("a", 1)
    assert manager.acquire("a") == 3


def test_no_slot_is_acquired_while_a_surplus_is_held():
    manager = ConcurrencyManager(Limits(2))
    for slot in range(4):
        manager.hold("a", slot)
    manager.release("a", 0)
    manager.release("a", 2)
    assert manager.acquire("a") is None
    manager.release("a", 3)
    assert manager.acquire("a") == 0


def test_new_limits_leave_held_slots_alone():
    manager = ConcurrencyManager(Limits(3))
    for _ in range(3):
        manager.acquire("a")
    manager.use(Limits(1))
    assert (manager.in_use("a"), manager.limit("a"), manager.acquire("a")) == (3, 1, None)
    manager.use(Limits(4))
    assert manager.acquire("a") == 3


def test_slot_is_released_after_its_key_has_moved_to_another_group():
    manager = ConcurrencyManager(Limits(3))
    manager.acquire("anthropic/a")
    manager.use(Limits(3, {"anthropic/*": 8}))
    manager.release("anthropic/a", 0)
    assert (manager.in_use("anthropic/a"), manager.in_use("anthropic/*")) == (0, 0)


def test_clear_releases_all_slots():
    manager = ConcurrencyManager(Limits(1))
    manager.acquire("a")
    manager.clear()
    assert manager.in_use("a") == 0
    assert manager.acquire("a") == 0


class Slots(RuleBasedStateMachine):
    """Compares the manager with a simple model: a set of numbers per group, searched from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(2, {"opus": 1, "free": 0, "anthropic/*": 3})
        self.manager = ConcurrencyManager(self.limits)
        self.held: defaultdict[str, set[int]] = defaultdict(set)

    @rule(key=KEYS)
    def acquire(self, key: str) -> None:
        group = self.limits.group(key)
        held, limit = self.held[group], self.limits.limit(group)
        lowest = next(slot for slot in range(len(held) + 1) if slot not in held)
        full = limit != 0 and len(held) >= limit
        assert self.manager.acquire(key) == (None if full else lowest)
        if not full:
            held.add(lowest)

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        there = sorted((group, slot) for group, held in self.held.items() for slot in held)
        group, slot = data.draw(st.sampled_from(there))
        self.manager.release(group, slot)
        self.held[group].remove(slot)

    @rule(key=KEYS, slot=st.integers(0, 9))
    def hold(self, key: str, slot: int) -> None:
        group = self.limits.group(key)
        if slot not in self.held[group]:
            self.manager.hold(group, slot)
            self.held[group].add(slot)

    @rule(default=st.integers(0, 4), configured=TABLES)
    def use(self, default: int, configured: dict[str, int]) -> None:
        self.limits = Limits(default, configured)
        self.manager.use(self.limits)

    @rule()
    def clear(self) -> None:
        self.held.clear()
        self.manager.clear()

    @invariant()
    def counts_agree(self) -> None:
        assert all(self.manager.in_use(group) == len(held) for group, held in self.held.items())


TestSlotsBehaveLikeSetsOfNumbers = Slots.TestCase


@given(st.lists(KEYS, max_size=40))
def test_no_group_holds_more_slots_than_its_limit(keys):
    limits = Limits(2, {"opus": 1, "free": 0, "anthropic/*": 3})
    manager = ConcurrencyManager(limits)
    for key in keys:
        manager.acquire(key)
    for group in map(limits.group, keys):
        assert limits.limit(group) == 0 or manager.in_use(group) <= limits.limit(group)
