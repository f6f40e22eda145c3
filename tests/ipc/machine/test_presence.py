from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from backburner.ipc.machine.lock import Lock
from backburner.ipc.machine.presence import Presence


@pytest.fixture
def presence(tmp_path: Path) -> Presence:
    return Presence(Home(tmp_path))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[str]:
    """A role that this process has."""
    lock = Lock(Home(tmp_path).lock("flusher"))
    assert lock.acquire()
    yield "flusher"
    lock.release()


def test_role_without_a_process_has_no_holder(presence: Presence):
    assert (presence.holder("supervisor"), presence.is_held("supervisor")) == (None, False)
    assert presence.process("supervisor") is None


def test_holder_of_a_role_is_named_and_identified(presence: Presence, held: str):
    assert (presence.holder(held), presence.is_held(held)) == (os.getpid(), True)
    assert presence.process(held) == Identity.mine()


def test_process_that_cannot_be_seen_holds_a_role(presence: Presence, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.ipc.machine.presence.holder", lambda _path: 0)
    assert presence.is_held("supervisor")
    assert presence.process("supervisor") is None


@pytest.mark.parametrize(
    ("change", "is_dead"), [({}, False), ({"ticks": 0}, True), ({"boot": "earlier"}, True), ({"pidns": "other"}, False)]
)
def test_only_proof_makes_a_process_dead(presence: Presence, change: dict[str, object], is_dead: bool):
    assert presence.is_dead(replace(Identity.mine(), **change)) is is_dead
