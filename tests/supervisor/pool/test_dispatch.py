from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc import clock
from backburner.ipc.model.claim import Slot, Step
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store.parking import ParkedSlots
from backburner.ipc.store.processes import ProcessTable
from backburner.supervisor.pool.dispatch import RAMP_WAIT, RAMP_WORKERS, Dispatch
from backburner.supervisor.pool.workers import Crew, Hand
from tests.helpers.yard import Yard

SLOT = Slot("command", 0)


def nothing(*_: object) -> None:
    """What a supervisor would do."""


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with Yard(tmp_path / "home", default_concurrency=1) as yard:
        yard.groups.configure()
        yield yard


@pytest.fixture
def crew() -> Iterator[Crew]:
    with DefaultSelector() as selector:
        crew = Crew(selector, nothing, nothing)
        yield crew
        for hand in crew:
            assert hand.channel is not None
            hand.channel.close()


@pytest.fixture
def dispatch(yard: Yard, crew: Crew) -> Iterator[Dispatch]:
    ends = []

    def hire() -> Hand:
        ours, theirs = socket.socketpair()
        ends.append(theirs)
        return crew.expect(ours)

    yield Dispatch(crew, yard.groups, yard.queue, hire)
    for end in ends:
        end.close()


def give_out(dispatch: Dispatch, crew: Crew) -> Hand:
    dispatch.hint("command")
    dispatch.give_out(4)
    (hand,) = crew
    return hand


@pytest.mark.parametrize("born", [False, True], ids=["before its birth was heard of", "before its first word"])
def test_a_worker_that_has_claimed_already_keeps_its_slot(yard: Yard, crew: Crew, dispatch: Dispatch, born: bool):
    yard.launch()
    yard.launch()
    hand = give_out(dispatch, crew)
    claimed = yard.claim()
    running = ProcessTable(yard.database).running()
    hand.pid = running[0].owner.identity.pid if born else None
    dispatch.recount(running)
    assert (hand.slot, hand.idle) == (SLOT, False)
    yard.settle(claimed)
    dispatch.free(hand)
    assert give_out(dispatch, crew).slot == SLOT


def test_a_worker_on_its_way_loses_a_slot_that_another_ones_task_was_moved_into(
    yard: Yard, crew: Crew, dispatch: Dispatch
):
    yard.launch()
    hand = give_out(dispatch, crew)
    hand.pid = 1  # not the one that claims
    yard.claim()
    dispatch.recount(ProcessTable(yard.database).running())
    assert hand.slot is None


# many slots, short tasks


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, which stands still until the test changes it."""
    now = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return now


def launch_into(yard: Yard, limit: int, **fields: object) -> None:
    yard.groups.limit("command", limit)
    for _ in range(limit):
        yard.launch(concurrency_key="command", **fields)


def test_group_gets_two_workers_at_once_and_more_after_its_head_has_waited(
    yard: Yard, crew: Crew, still: list[int], dispatch: Dispatch
):
    launch_into(yard, 6)
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.give_out(8)
    assert len(crew) == RAMP_WORKERS
    assert 0 < dispatch.look_at - clock.monotonic() <= RAMP_WAIT / 1000
    still[0] += RAMP_WAIT
    dispatch.give_out(8)
    assert (len(crew), dispatch.look_at) == (6, float("inf"))


def test_task_launched_by_a_clock_that_was_set_back_since_does_not_wait(
    yard: Yard, crew: Crew, still: list[int], dispatch: Dispatch
):
    launch_into(yard, 6)
    still[0] -= 3_600_000
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.give_out(8)
    assert len(crew) == 6


def test_young_task_of_one_group_does_not_hold_up_another(yard: Yard, crew: Crew, still: list[int], dispatch: Dispatch):
    launch_into(yard, 6)
    yard.launch(concurrency_key="other")
    dispatch.recount([])
    dispatch.hint("command", "other")
    dispatch.give_out(8)
    assert sorted(hand.slot.group for hand in crew) == ["command", "command", "other"]


def test_external_work_starts_at_once_beside_two_workers(yard: Yard, crew: Crew, still: list[int], dispatch: Dispatch):
    launch_into(yard, 6)
    dispatch.recount([])
    dispatch.hint("command")
    dispatch.give_out(8)
    yard.launch(agent="external", prompt="p", concurrency_key="command", priority=9)
    assert dispatch.give_out(8)
    assert (len(crew), len(ProcessTable(yard.database).running())) == (2, 1)


# parked workers


@pytest.fixture
def parked(yard: Yard, crew: Crew, dispatch: Dispatch) -> Hand:
    """A worker that found no task in its slot."""
    id = yard.launch()
    hand = give_out(dispatch, crew)
    hand.owner, hand.given = yard.owner, False
    yard.settle(yard.start(id))
    assert yard.queue.advance(Step(SLOT, yard.owner, count=1)).parked
    return hand


def test_parked_worker_keeps_its_slot_while_nothing_is_ready(yard: Yard, parked: Hand, dispatch: Dispatch):
    dispatch.hint("command")
    dispatch.give_out(1)
    assert (parked.slot, ParkedSlots(yard.database).all()) == (SLOT, {yard.owner: SLOT})
    assert not dispatch.any_at_work()


def test_parked_worker_is_given_the_tasks_of_its_group_that_it_was_not_sent(
    yard: Yard, parked: Hand, crew: Crew, dispatch: Dispatch
):
    yard.queue.launch_many([LaunchInput(command=("true",))] * 2)
    dispatch.hint("command")
    dispatch.give_out(4)
    assert (list(crew), parked.slot, parked.given) == ([parked], SLOT, True)
    assert ParkedSlots(yard.database).all() == {}


def test_parked_worker_works_for_another_group_when_workers_are_short(
    yard: Yard, parked: Hand, crew: Crew, dispatch: Dispatch
):
    yard.launch(concurrency_key="other")
    dispatch.hint("other")
    dispatch.give_out(1)
    assert (list(crew), parked.slot) == ([parked], Slot("other", 0))


def test_parked_worker_stays_while_another_can_be_made(yard: Yard, parked: Hand, crew: Crew, dispatch: Dispatch):
    yard.launch(concurrency_key="other")
    dispatch.hint("other")
    dispatch.give_out(2)
    assert (len(crew), parked.slot) == (2, SLOT)


def test_parked_slot_is_used_for_external_work_of_its_group(yard: Yard, parked: Hand, dispatch: Dispatch):
    yard.launch(agent="external", prompt="p", concurrency_key="command")
    dispatch.hint("command")
    assert dispatch.give_out(1)
    assert parked.idle


def test_worker_that_a_launch_was_faster_to_claim_for_keeps_its_slot(
    yard: Yard, parked: Hand, crew: Crew, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
):
    yard.launch(concurrency_key="other")
    before = ParkedSlots.all
    monkeypatch.setattr(ParkedSlots, "all", lambda slots: (before(slots), yard.launch())[0])
    dispatch.hint("other")
    dispatch.give_out(1)
    assert (len(crew), parked.slot, parked.idle) == (1, SLOT, False)


def test_worker_that_parked_before_its_first_message_keeps_its_slot(yard: Yard, parked: Hand, dispatch: Dispatch):
    parked.owner = None
    dispatch.recount([])
    assert (parked.slot, ParkedSlots(yard.database).all()) == (SLOT, {yard.owner: SLOT})


def test_no_worker_stays_parked_when_the_slots_are_counted(yard: Yard, parked: Hand, dispatch: Dispatch):
    dispatch.recount([])
    assert (parked.idle, ParkedSlots(yard.database).all()) == (True, {})


def test_worker_that_was_claimed_for_while_the_slots_were_counted_keeps_its_slot(
    yard: Yard, parked: Hand, dispatch: Dispatch
):
    running = ProcessTable(yard.database).running()
    yard.launch()
    dispatch.recount(running)
    assert parked.slot == SLOT
