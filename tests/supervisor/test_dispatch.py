from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from ipc.claim import Slot
from ipc.registry import Registry
from supervisor.crew import Crew, Hand
from supervisor.dispatch import Dispatch
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
    running = Registry(yard.database).running()
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
    dispatch.recount(Registry(yard.database).running())
    assert hand.slot is None
