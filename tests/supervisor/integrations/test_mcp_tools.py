"""A wait ends before the client's timeout, and frees its thread when it is cancelled."""

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
from backburner.ipc.errors import Disconnected, InvalidInput
from backburner.supervisor.integrations import mcp_tools
from backburner.supervisor.integrations.caller import SessionResolver
from backburner.supervisor.integrations.mcp_tools import MAX_WAITING, ToolService
from tests.helpers.bus import TIMEOUT
from tests.helpers.queue_db import QueueDatabase

#: The real clock.
PASSING = clock.monotonic
#: Milliseconds after which clients give up on a call.
CLIENT_TIMEOUT = 60_000


class Bus:
    """A client with a bus that records requests and then disconnects, `breaks` times, each `later` seconds later."""

    asked: list[int]
    breaks: int
    later: float

    def __init__(self, home: object, patience: float) -> None:
        """Connect to nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing."""

    def call(self, method: str, **params: Any) -> None:
        """Answer at once, or disconnect."""
        self.asked.append(params["timeoutMs"])
        if len(self.asked) <= self.breaks:
            Clock.now += self.later
            raise Disconnected("the bus disconnected")


class Clock:
    """A clock that only the tests move."""

    now = 0.0


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bus]]:
    found = type("Bus", (Bus,), {"asked": [], "breaks": 0, "later": 30.0})
    monkeypatch.setattr(mcp_tools, "Client", found)
    monkeypatch.setattr(Clock, "now", 1000.0)
    monkeypatch.setattr(clock, "monotonic", lambda: Clock.now)
    yield found


@contextmanager
def service_of(home: Path) -> Iterator[ToolService]:
    """Yield the tools of a session that has one task, which never runs."""
    with QueueDatabase(home) as queue_db:
        queue_db.launch(parent_session_id="S")
    service = ToolService(queue_db.home, SessionResolver({}, str(home)))
    yield service
    assert service.store is not None
    service.store.close()


def wait(home: Path, **arguments: Any) -> Any:
    with service_of(home) as service:
        return asyncio.run(service.call("wait", service.check("wait", arguments), "S"))


@pytest.mark.parametrize(
    ("timeout", "asked"), [(None, 45_000), (0, 0), (10, 10), (49_000, 49_000), (49_001, 49_000), (10**9, 49_000)]
)
def test_wait_is_shorter_than_the_timeout_of_clients(home, bus, timeout, asked):
    wait(home, **({} if timeout is None else {"timeoutMs": timeout}))
    assert bus.asked == [asked]
    assert asked < CLIENT_TIMEOUT


def test_wait_asks_the_next_bus_for_the_rest_of_its_time(home, bus):
    bus.breaks = 2
    assert wait(home, timeoutMs=10**9)["timedOut"] is True
    assert bus.asked == [49_000, 19_000, 0]


def test_wait_ends_in_time_when_the_bus_always_disconnects(home, bus):
    bus.breaks = 1000
    assert wait(home, timeoutMs=10**9)["timedOut"] is True
    assert bus.asked == [49_000, 19_000, 0]


def test_wait_does_not_spin_when_the_bus_disconnects_at_once(home, bus, monkeypatch):
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
        assert self._closed.wait(TIMEOUT)
        raise Disconnected


def test_cancelled_waits_free_their_threads(home, monkeypatch):
    waiting = threading.Semaphore(0)
    blocking = type("Bus", (BlockingBus,), {"asked": [], "waiting": waiting})
    monkeypatch.setattr(mcp_tools, "Client", blocking)

    async def main(service: ToolService) -> None:
        calls = [asyncio.create_task(service.call("wait", {}, "S")) for _ in range(MAX_WAITING + 3)]
        for _ in range(MAX_WAITING):
            assert await asyncio.to_thread(waiting.acquire, timeout=TIMEOUT)
        assert len(blocking.asked) == MAX_WAITING
        for call in calls:
            call.cancel()
        assert {type(found) for found in await asyncio.gather(*calls, return_exceptions=True)} == {CancelledError}
        monkeypatch.setattr(mcp_tools, "Client", type("Bus", (Bus,), {"asked": [], "breaks": 0}))
        assert (await asyncio.wait_for(service.call("wait", {}, "S"), TIMEOUT))["timedOut"] is True

    with service_of(home) as service:
        asyncio.run(main(service))


def test_cancel_does_not_wait_for_the_waits(home, monkeypatch):
    waiting = threading.Semaphore(0)

    class CancellingBus(BlockingBus):
        def call(self, method: str, **params: Any) -> None:
            if method == "wait":
                super().call(method, **params)
            with QueueDatabase(home) as queue_db:
                queue_db.queue.cancel(params["id"])

    monkeypatch.setattr(mcp_tools, "Client", type("Bus", (CancellingBus,), {"asked": [], "waiting": waiting}))
    monkeypatch.setattr(ToolService, "_is_down", lambda _self: False)

    async def main(service: ToolService) -> None:
        ids = service._tasks_to_wait_for({}, "S")
        waits = [asyncio.create_task(service.call("wait", {}, "S")) for _ in range(MAX_WAITING)]
        for _ in waits:
            assert await asyncio.to_thread(waiting.acquire, timeout=TIMEOUT)
        answer = await asyncio.wait_for(service.call("cancel", {"id": ids[0]}, "S"), TIMEOUT)
        assert answer["status"] == "cancelled"
        for call in waits:
            call.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    with service_of(home) as service:
        asyncio.run(main(service))


@pytest.mark.parametrize("session", ["*", "cwd:/" + 1024 * "x"])
def test_launch_refuses_a_session_that_no_client_could_name(home, session):
    with service_of(home) as service, pytest.raises(InvalidInput) as refusal:
        asyncio.run(service.call("launch", service.check("launch", {"command": ["true"]}), session))
    assert refusal.value.field == "parentSessionId"


def test_launch_validates_each_field_once(home, checked_priorities):
    with service_of(home) as service:
        checked_priorities.clear()
        params = service.check("launch", {"command": ["true"], "priority": 7})
        asyncio.run(service.call("launch", params, "S"))
    assert checked_priorities == [7]
