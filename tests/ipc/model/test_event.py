"""Events, and the bus that hands them to listeners in this process."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from backburner.ipc.model.event import Event, EventBus


def test_a_handler_hears_its_type_and_no_other():
    bus, heard = EventBus(), []
    bus.subscribe("a", heard.append)
    bus.dispatch("a", {"n": 1})
    bus.dispatch("b", {"n": 2})
    assert heard == [{"n": 1}]


def test_a_star_hears_every_type_and_is_told_which():
    bus, heard = EventBus(), []
    bus.subscribe("*", heard.append)
    bus.dispatch("a", {"n": 1})
    bus.dispatch("b", {"type": "b", "n": 2})
    assert heard == [{"type": "a", "n": 1}, {"type": "b", "n": 2}]


def test_handlers_are_called_in_the_order_in_which_they_came():
    bus, heard = EventBus(), []
    for name in "abc":
        bus.subscribe("x", lambda payload, name=name: heard.append(name))
    bus.dispatch("x", {})
    assert heard == ["a", "b", "c"]


def test_the_same_handler_may_listen_twice_and_leaves_once_at_a_time():
    bus, heard = EventBus(), []
    first = bus.subscribe("x", heard.append)
    bus.subscribe("x", heard.append)
    first()
    first()
    bus.dispatch("x", {})
    assert heard == [{}]


def test_a_handler_that_raises_is_logged_and_the_others_are_called(caplog):
    bus, heard = EventBus(), []
    bus.subscribe("x", lambda payload: 1 / 0)
    bus.subscribe("x", heard.append)
    with caplog.at_level(logging.ERROR, "backburner"):
        bus.dispatch("x", {})
    assert heard == [{}]
    assert "ZeroDivisionError" in caplog.text


def test_a_handler_removed_by_one_before_it_is_not_called_any_more():
    bus, heard = EventBus(), []
    bus.subscribe("x", lambda payload: leave())
    leave = bus.subscribe("x", heard.append)
    bus.dispatch("x", {})
    assert heard == []


def test_a_handler_added_while_dispatching_hears_the_next_event():
    bus, heard = EventBus(), []
    bus.subscribe("x", lambda payload: bus.subscribe("x", heard.append))
    bus.dispatch("x", {"n": 1})
    assert heard == []
    bus.dispatch("x", {"n": 2})
    assert heard == [{"n": 2}]


def test_handlers_may_come_and_go_on_one_thread_while_another_dispatches():
    bus, heard, over = EventBus(), [], threading.Event()
    bus.subscribe("x", heard.append)

    def come_and_go():
        while not over.is_set():
            bus.subscribe("x", lambda payload: None)()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    for number in range(2000):
        bus.dispatch("x", {"n": number})
    over.set()
    thread.join()
    assert [payload["n"] for payload in heard] == list(range(2000))


def test_an_event_survives_the_wire():
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
