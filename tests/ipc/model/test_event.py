"""Events, and the bus that passes them to handlers in this process."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from backburner.ipc.model.event import Event, EventBus


def test_handler_gets_events_of_its_type_only():
    bus, received = EventBus(), []
    bus.subscribe("a", received.append)
    bus.dispatch("a", {"n": 1})
    bus.dispatch("b", {"n": 2})
    assert received == [{"n": 1}]


def test_handler_of_all_types_gets_the_type_in_the_payload():
    bus, received = EventBus(), []
    bus.subscribe("*", received.append)
    bus.dispatch("a", {"n": 1})
    bus.dispatch("b", {"type": "b", "n": 2})
    assert received == [{"type": "a", "n": 1}, {"type": "b", "n": 2}]


def test_handlers_are_called_in_the_order_of_their_subscription():
    bus, received = EventBus(), []
    for name in "abc":
        bus.subscribe("x", lambda payload, name=name: received.append(name))
    bus.dispatch("x", {})
    assert received == ["a", "b", "c"]


def test_handler_that_subscribed_twice_unsubscribes_once_at_a_time():
    bus, received = EventBus(), []
    first = bus.subscribe("x", received.append)
    bus.subscribe("x", received.append)
    first()
    first()
    bus.dispatch("x", {})
    assert received == [{}]


def test_exception_of_a_handler_is_logged_and_the_others_are_called(caplog):
    bus, received = EventBus(), []
    bus.subscribe("x", lambda payload: 1 / 0)
    bus.subscribe("x", received.append)
    with caplog.at_level(logging.ERROR, "backburner"):
        bus.dispatch("x", {})
    assert received == [{}]
    assert "ZeroDivisionError" in caplog.text


def test_handler_removed_by_an_earlier_one_is_not_called():
    bus, received = EventBus(), []
    bus.subscribe("x", lambda payload: unsubscribe())
    unsubscribe = bus.subscribe("x", received.append)
    bus.dispatch("x", {})
    assert received == []


def test_handler_added_during_a_dispatch_gets_the_next_event():
    bus, received = EventBus(), []
    bus.subscribe("x", lambda payload: bus.subscribe("x", received.append))
    bus.dispatch("x", {"n": 1})
    assert received == []
    bus.dispatch("x", {"n": 2})
    assert received == [{"n": 2}]


def test_handlers_may_subscribe_on_one_thread_while_another_dispatches():
    bus, received, stopped = EventBus(), [], threading.Event()
    bus.subscribe("x", received.append)

    def subscribe_and_unsubscribe():
        while not stopped.is_set():
            bus.subscribe("x", lambda payload: None)()

    thread = threading.Thread(target=subscribe_and_unsubscribe)
    thread.start()
    for number in range(2000):
        bus.dispatch("x", {"n": number})
    stopped.set()
    thread.join()
    assert [payload["n"] for payload in received] == list(range(2000))


def test_event_is_unchanged_after_json():
    document = {
        "seq": 7,
        "type": "t",
        "at": "2026-02-03T04:05:06.789Z",
        "parentSessionId": "p",
        "taskId": "bg-1",
    }
    event = Event.from_json(document)
    assert event.at == datetime(2026, 2, 3, 4, 5, 6, 789000, UTC)
    assert (event.parent_session_id, event.data) == ("p", {"taskId": "bg-1"})
    assert event.to_json() == document
