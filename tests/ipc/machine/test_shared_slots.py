from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.machine import shared_slots
from backburner.ipc.machine.shared_slots import SharedSlot, SlotPipe, count_taken, wake_waiting
from backburner.ipc.machine.state_folder import state_folder

LIMITS = {"api/*": 2, "other": 1}


@pytest.fixture(params=[True, False], ids=["ranges", "files"])
def slots(request, monkeypatch) -> Iterator[list[SharedSlot]]:
    """Four descriptions, with each kind of lock."""
    if request.param and not shared_slots._HAS_RANGES:
        pytest.skip("this system has no locks of open file descriptions")
    monkeypatch.setattr(shared_slots, "_HAS_RANGES", request.param)
    opened = [SharedSlot.open(LIMITS) for _ in range(4)]
    yield opened
    for slot in opened:
        slot.close()


def holder_of(slot: SharedSlot) -> int:
    """Fork a process that keeps its copies of the descriptors until it is killed."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_pool_has_as_many_slots_as_its_limit(slots: list[SharedSlot]):
    first, second, third, fourth = slots
    assert [slot.take("api/*", 2) for slot in (first, second, third)] == [True, True, False]
    assert fourth.count("api/*") == 2
    assert fourth.take("other", 1)
    second.free()
    assert third.take("api/*", 2)


def test_slot_stays_taken_until_the_last_process_that_holds_it_is_dead(slots: list[SharedSlot]):
    mine, other, *_ = slots
    assert mine.take("other", 1)
    holder = holder_of(mine)
    mine.close()
    assert not other.take("other", 1)
    kill(holder)
    assert other.take("other", 1)


def test_any_process_that_holds_a_slot_can_free_it(slots: list[SharedSlot]):
    mine, other, *_ = slots
    assert mine.take("other", 1)
    holder = holder_of(mine)
    received = SharedSlot([os.dup(descriptor) for descriptor in mine.descriptors])
    received.free()
    received.close()
    assert other.take("other", 1)
    kill(holder)


@pytest.mark.skipif(not shared_slots._HAS_RANGES, reason="slots that are files are counted below the limit only")
def test_lowered_limit_counts_slots_that_were_taken_above_it():
    first, second, third, fourth = slots = [SharedSlot.open(LIMITS) for _ in range(4)]
    assert [slot.take("api/*", 2) for slot in (first, second)] == [True, True]
    first.free()
    assert not third.take("api/*", 1)
    second.free()
    assert third.take("api/*", 1)
    assert not fourth.take("api/*", 1)
    for slot in slots:
        slot.close()


def test_taken_slots_are_counted_from_outside(slots: list[SharedSlot]):
    assert count_taken(LIMITS) == {"api/*": 0, "other": 0}
    assert slots[0].take("other", 1)
    assert count_taken(LIMITS) == {"api/*": 0, "other": 1}


def test_look_at_the_pools_creates_nothing():
    assert count_taken(LIMITS) == {"api/*": 0, "other": 0}
    assert not state_folder().exists()


def test_description_of_a_replaced_file_is_not_current():
    slot = SharedSlot.open(LIMITS)
    assert slot.is_current()
    (state_folder() / "slots").unlink()
    assert not slot.is_current()
    SharedSlot.open(LIMITS).close()
    assert not slot.is_current()
    slot.close()


def test_descriptors_are_not_inherited_by_programs():
    slot = SharedSlot.open(LIMITS)
    assert not any(map(os.get_inheritable, slot.descriptors))
    slot.close()


def test_freed_slot_wakes_all_that_wait(tmp_path: Path):
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    pipes = [SlotPipe(home) for home in homes]
    wake_waiting()
    assert [os.read(pipe.fileno(), 10) for pipe in pipes] == [b"\n", b"\n"]
    for pipe in pipes:
        pipe.close()
    assert not list(state_folder().glob("*.wake"))


def test_pipe_of_a_process_that_was_killed_is_used_again(tmp_path: Path):
    home = tmp_path / "a"
    home.mkdir()
    os.close(SlotPipe(home).fileno())
    wake_waiting()
    pipe = SlotPipe(home)
    wake_waiting()
    assert os.read(pipe.fileno(), 10) == b"\n"
    pipe.close()


@pytest.mark.skipif(not shared_slots._HAS_RANGES, reason="slots that are files are counted one by one")
def test_count_of_taken_slots_has_no_limit():
    first, other = SharedSlot.open(LIMITS), SharedSlot.open(LIMITS)
    start = shared_slots._first_byte("other")
    for number in range(0, 3000, 2):
        first._lock(start + number)
    assert other.count("other") == 1500
    first.close()
    assert other.count("other") == 0
    other.close()


def test_slot_whose_descriptors_were_lost_is_no_slot():
    lost = SharedSlot(())
    lost.free()
    assert not lost.is_current()
    lost.close()
