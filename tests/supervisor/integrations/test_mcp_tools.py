"""How long one call of a tool waits: never as long as a client's patience."""

from __future__ import annotations

import asyncio
import threading
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import Disconnected
from backburner.supervisor.integrations import mcp_tools
from backburner.supervisor.integrations.caller import Callers
from backburner.supervisor.integrations.mcp_tools import MAX_WAITING, Office
from tests.helpers.bus import PATIENCE
from tests.helpers.yard import Yard

#: The time as it is.
PASSING = clock.monotonic
#: Milliseconds after which clients give a call up.
CLIENTS_PATIENCE = 60_000


class Bus:
    """A bus that notes what it is asked for; it breaks as often as a test wants, each time some seconds later."""

    asked: list[int]
    breaks: int
    later: float

    def __init__(self, home: object, patience: float) -> None:
        """As a client is made."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing."""

    def call(self, method: str, **params: Any) -> None:
        """Answer at once, or break."""
        self.asked.append(params["timeoutMs"])
        if len(self.asked) <= self.breaks:
            Clock.now += self.later
            raise Disconnected("The bus went away.")


class Clock:
    """One that stands still unless it is moved."""

    now = 0.0


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bus]]:
    found = type("Bus", (Bus,), {"asked": [], "breaks": 0, "later": 30.0})
    monkeypatch.setattr(mcp_tools, "Client", found)
    monkeypatch.setattr(Clock, "now", 1000.0)
    monkeypatch.setattr(clock, "monotonic", lambda: Clock.now)
    yield found


@contextmanager
def office_of(home: Path) -> Iterator[Office]:
    """Yield the tools of a session that has one task, which never runs."""
    with Yard(home) as yard:
        yard.launch(parent_session_id="S")
    office = Office(yard.home, Callers({}, str(home)))
    yield office
    assert office.database is not None
    office.database.close()


def wait(home: Path, **arguments: Any) -> Any:
    with office_of(home) as office:
        return asyncio.run(office.call("wait", office.check("wait", arguments), "S"))


@pytest.mark.parametrize(
    ("said", "asked"), [(None, 45_000), (0, 0), (10, 10), (49_000, 49_000), (49_001, 49_000), (10**9, 49_000)]
)
def test_one_wait_asks_for_less_than_clients_wait_whatever_is_said(home, bus, said, asked):
    wait(home, **({} if said is None else {"timeoutMs": said}))
    assert bus.asked == [asked]
    assert asked < CLIENTS_PATIENCE


def test_a_wait_whose_bus_breaks_asks_the_next_one_only_for_what_is_left(home, bus):
    bus.breaks = 2
    assert wait(home, timeoutMs=10**9)["timedOut"] is True
    assert bus.asked == [49_000, 19_000, 0]


def test_a_wait_whose_bus_breaks_always_ends_in_time(home, bus):
    bus.breaks = 1000
    assert wait(home, timeoutMs=10**9)["timedOut"] is True
    assert bus.asked == [49_000, 19_000, 0]


def test_a_wait_does_not_turn_where_a_bus_hangs_up_at_once(home, bus, monkeypatch):
    monkeypatch.setattr(clock, "monotonic", PASSING)
    bus.breaks, bus.later = 1000, 0.0
    assert wait(home, timeoutMs=500)["timedOut"] is True
    assert len(bus.asked) < 50


class BlockingBus(Bus):
    """A bus that answers nothing until its client is closed."""

    waiting: threading.Semaphore

    def __init__(self, home: object, patience: float) -> None:
        self._closed = threading.Event()

    def __exit__(self, *exception: object) -> None:
        self._closed.set()

    def call(self, method: str, **params: Any) -> None:
        self.asked.append(params["timeoutMs"])
        self.waiting.release()
        assert self._closed.wait(PATIENCE)
        raise Disconnected


def test_cancelled_waits_free_their_threads(home, monkeypatch):
    waiting = threading.Semaphore(0)
    blocking = type("Bus", (BlockingBus,), {"asked": [], "waiting": waiting})
    monkeypatch.setattr(mcp_tools, "Client", blocking)

    async def main(office: Office) -> None:
        calls = [asyncio.create_task(office.call("wait", {}, "S")) for _ in range(MAX_WAITING + 3)]
        for _ in range(MAX_WAITING):
            assert await asyncio.to_thread(waiting.acquire, timeout=PATIENCE)
        assert len(blocking.asked) == MAX_WAITING
        for call in calls:
            call.cancel()
        assert {type(found) for found in await asyncio.gather(*calls, return_exceptions=True)} == {CancelledError}
        monkeypatch.setattr(mcp_tools, "Client", type("Bus", (Bus,), {"asked": [], "breaks": 0}))
        assert (await asyncio.wait_for(office.call("wait", {}, "S"), PATIENCE))["timedOut"] is True

    with office_of(home) as office:
        asyncio.run(main(office))
