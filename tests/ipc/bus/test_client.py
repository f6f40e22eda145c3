"""The client, against a bus that disconnects, dies and restarts."""

from __future__ import annotations

import threading
from itertools import islice

import pytest

from backburner.ipc.bus import client as client_module
from backburner.ipc.bus.client import Client
from backburner.ipc.bus.jsonrpc import RpcError
from backburner.ipc.bus.methods import DEFERRED, Method
from backburner.ipc.errors import Disconnected, InvalidInput, MoveNotAllowed, NoSupervisor, NotFound, OverCap, Temporary
from backburner.ipc.home import Home
from backburner.ipc.validation import Anything, Record
from tests.helpers.bus import TIMEOUT, MemoryLog, ServedBus, serving

ANY_PARAMS = Record("params", {"value": Anything()})

REFUSALS = {
    "invalid": InvalidInput("wrong", field="after"),
    "missing": NotFound("gone", field="id"),
    "illegal": MoveNotAllowed("not now"),
    "ended": OverCap("full"),
    "later": Temporary("locked"),
}


def refuse(name):
    def handler(params, call):
        raise REFUSALS[name]

    return handler


@pytest.fixture
def deferred():
    return []


@pytest.fixture
def methods(deferred):
    def hold(params, call):
        deferred.append(call)
        return DEFERRED

    return {
        "echo": Method(ANY_PARAMS, lambda params, call: params.get("value")),
        "hold": Method(ANY_PARAMS, hold),
        **{name: Method(ANY_PARAMS, refuse(name)) for name in REFUSALS},
    }


@pytest.fixture
def bus_home(home):
    return Home(home)


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def served(bus_home, log, methods):
    with serving(bus_home, log, methods) as served:
        yield served


@pytest.fixture
def client(bus_home):
    with Client(bus_home) as client:
        yield client


def disconnect_all(served: ServedBus) -> None:
    """Close all connections, as the death of the bus does."""
    served.run(lambda: [connection.close() for connection in list(served.bus._connections)])


# calls


def test_call_returns_the_result(served, client):
    assert client.call("echo", value={"a": [1]}) == {"a": [1]}
    assert [client.call("echo", value=number) for number in range(100)] == list(range(100))
    assert served.run(lambda: served.bus.connections) == 1


@pytest.mark.parametrize("name", REFUSALS)
def test_call_raises_the_error_of_the_server(served, client, name):
    with pytest.raises(type(REFUSALS[name])) as refused:
        client.call(name)
    assert (str(refused.value), refused.value.field) == (str(REFUSALS[name]), REFUSALS[name].field)
    assert client.call("echo", value=1) == 1


def test_unknown_method_raises_rpc_error(served, client):
    with pytest.raises(RpcError) as refused:
        client.call("unknown")
    assert refused.value.rpc_code == -32601


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * 1024 * 1024])
def test_invalid_parameters_are_refused_before_sending(served, client, value):
    with pytest.raises(InvalidInput):
        client.call("echo", value=value)
    assert client.call("echo", value=1) == 1


def test_call_without_a_bus_raises_no_supervisor(client):
    with pytest.raises(NoSupervisor):
        client.call("echo")


def test_call_waits_for_the_bus_until_connect_timeout(bus_home, log, methods):
    served = ServedBus(bus_home, log, methods)
    with Client(bus_home, connect_timeout=TIMEOUT) as client:
        threading.Timer(0.05, served.start).start()
        assert client.call("echo", value=1) == 1
    served.stop()


def test_call_succeeds_after_the_bus_was_replaced(bus_home, log, methods, client):
    for number in range(3):
        with serving(bus_home, log, methods):
            assert client.call("echo", value=number) == number


def test_call_raises_disconnected_if_the_bus_dies_before_it_answers(served, client, deferred):
    def die():
        served.until(lambda: deferred)
        disconnect_all(served)

    thread = threading.Thread(target=die)
    thread.start()
    with pytest.raises(Disconnected):
        client.call("hold")
    thread.join()
    assert client.call("echo", value=1) == 1


def test_calls_of_several_threads_do_not_block_each_other(served, client, deferred):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.call("hold")))
    thread.start()
    served.until(lambda: deferred)
    assert client.call("echo", value=1) == 1
    served.run(lambda: deferred[0].answer("at last"))
    thread.join(TIMEOUT)
    assert answers == ["at last"]


def test_close_wakes_calls_and_subscribers(served, bus_home, deferred):
    client, outcomes = Client(bus_home), []

    def wait():
        try:
            client.call("hold")
        except Disconnected as error:
            outcomes.append(error)

    def iterate():
        outcomes.extend(client.events("p"))
        outcomes.append("ended")

    threads = [threading.Thread(target=wait), threading.Thread(target=iterate)]
    for thread in threads:
        thread.start()
    served.until(lambda: deferred and served.bus.subscriptions)
    client.close()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(outcomes) == 2
    with pytest.raises(Disconnected):
        client.call("echo")


def test_close_wakes_a_subscriber_that_waits_for_a_bus(bus_home):
    client, tried = Client(bus_home), threading.Event()
    client._try_to_connect = lambda: tried.set()  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: list(client.events("p")))
    thread.start()
    assert tried.wait(TIMEOUT)
    del client._try_to_connect
    client.close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_events_arrive_when_published(served, client):
    for _ in range(3):
        served.publish("p", taskId="bg-1")
    events = client.events("p", after=1)
    assert [event.seq for event in islice(events, 2)] == [2, 3]
    seq = served.publish("p", "background_task_stale")
    event = next(events)
    assert (event.seq, event.type, event.parent_session_id) == (seq, "background_task_stale", "p")
    events.close()
    served.until(lambda: served.bus.connections == 0)


@pytest.mark.parametrize("parent", ["p", "*"])
def test_events_survive_reconnects_without_gap_or_repetition(served, client, parent):
    seqs, events = [], client.events(parent, after=0)
    for round_ in range(5):
        for _ in range(4):
            served.publish("p")
        seqs += [event.seq for event in islice(events, 4 if round_ % 2 else 2)]
        disconnect_all(served)
    seqs += [event.seq for event in islice(events, 20 - len(seqs))]
    assert seqs == list(range(1, 21))
    events.close()


def test_events_of_all_are_kept_over_a_break_before_the_first_one(served, client):
    served.publish("p")
    received, seqs = threading.Event(), []

    def iterate():
        seqs.append(next(client.events("*")).seq)
        received.set()

    threading.Thread(target=iterate, daemon=True).start()
    served.until(lambda: served.bus.subscriptions == 1)

    def disconnect_and_append():
        for connection in list(served.bus._connections):
            connection.close()
        return served.log.append("p").seq

    seq = served.run(disconnect_and_append)
    assert received.wait(TIMEOUT)
    assert seqs == [seq]


def test_events_continue_after_a_restart_of_the_bus(bus_home, log, methods, client):
    seqs, events = [], client.events("p", after=0)
    for _ in range(3):
        with serving(bus_home, log, methods) as served:
            served.publish("p")
            seqs.append(next(events).seq)
    assert seqs == [1, 2, 3]
    events.close()


def test_events_of_another_log_start_at_its_beginning(bus_home, methods, client):
    first, second = MemoryLog("first"), MemoryLog("second")
    for log in (first, second):
        for _ in range(3):
            log.append("p")
    events = client.events("p")
    with serving(bus_home, first, methods):
        assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    with serving(bus_home, second, methods):
        assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    events.close()


def test_event_is_acknowledged_when_the_next_one_is_requested(served, client, log):
    for _ in range(3):
        served.publish("p")
    events = client.events("p", consumer="model", ack=True)
    assert next(events).seq == 1
    assert log.cursors == {}
    assert next(events).seq == 2
    assert log.cursors == {("p", "model"): 1}
    events.close()


def test_lost_acknowledgement_is_repeated_before_the_next_event(served, client, log):
    served.publish("p")
    events = client.events("p", ack=True)
    assert next(events).seq == 1
    disconnect_all(served)
    served.publish("p")
    assert next(events).seq == 2
    assert log.cursors == {("p", "default"): 1}
    events.close()


def test_events_are_not_acknowledged_by_default(served, client, log):
    for _ in range(3):
        served.publish("p")
    events = client.events("p")
    assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    events.close()
    assert log.cursors == {}


def test_invalid_subscription_raises_instead_of_retrying(served, client):
    with pytest.raises(InvalidInput) as refused:
        next(client.events("p", types=["unknown"]))
    assert refused.value.field == "types[0]"
    with pytest.raises(InvalidInput):
        served.publish("p")
        list(islice(client.events("*", after=0, ack=True), 2))


def test_invalid_message_of_the_server_counts_as_disconnect():
    connection = client_module.RpcConnection()
    for data in (
        b"invalid\n",
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32004,"message":"full"}}\n',
        b"",
    ):
        with pytest.raises(Disconnected):
            connection.receive(data)
