"""The clients, against a bus that comes and goes."""

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
from tests.helpers.bus import TIMEOUT, MemoryLog, Served, serving

FREE = Record("free", {"value": Anything()})

REFUSALS = {
    "invalid": InvalidInput("wrong", field="after"),
    "missing": NotFound("gone", field="id"),
    "illegal": MoveNotAllowed("not now"),
    "over": OverCap("full"),
    "later": Temporary("locked"),
}


def refuse(name):
    def handler(params, call):
        raise REFUSALS[name]

    return handler


@pytest.fixture
def held():
    return []


@pytest.fixture
def methods(held):
    def hold(params, call):
        held.append(call)
        return DEFERRED

    return {
        "echo": Method(FREE, lambda params, call: params.get("value")),
        "hold": Method(FREE, hold),
        **{name: Method(FREE, refuse(name)) for name in REFUSALS},
    }


@pytest.fixture
def place(home):
    return Home(home)


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def served(place, log, methods):
    with serving(place, log, methods) as served:
        yield served


@pytest.fixture
def client(place):
    with Client(place) as client:
        yield client


def hang_up(served: Served) -> None:
    """End all connections, as a bus that is killed does."""
    served.run(lambda: [connection.close() for connection in list(served.bus._connections)])


# blocking


def test_a_call_brings_the_result(served, client):
    assert client.call("echo", value={"a": [1]}) == {"a": [1]}
    assert [client.call("echo", value=number) for number in range(100)] == list(range(100))
    assert served.run(lambda: served.bus.connections) == 1


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_server_raised_is_raised_here(served, client, name):
    with pytest.raises(type(REFUSALS[name])) as refused:
        client.call(name)
    assert (str(refused.value), refused.value.field) == (str(REFUSALS[name]), REFUSALS[name].field)
    assert client.call("echo", value=1) == 1


def test_an_unknown_method_is_an_error_with_its_code(served, client):
    with pytest.raises(RpcError) as refused:
        client.call("nonesuch")
    assert refused.value.rpc_code == -32601


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * 1024 * 1024])
def test_what_cannot_be_sent_is_refused_before_it_is_sent(served, client, value):
    with pytest.raises(InvalidInput):
        client.call("echo", value=value)
    assert client.call("echo", value=1) == 1


def test_without_a_bus_a_call_says_so(client):
    with pytest.raises(NoSupervisor):
        client.call("echo")


def test_a_patient_client_waits_for_the_bus(place, log, methods):
    served = Served(place, log, methods)
    with Client(place, connect_timeout=TIMEOUT) as client:
        threading.Timer(0.05, served.start).start()
        assert client.call("echo", value=1) == 1
    served.stop()


def test_a_bus_that_was_replaced_between_two_calls_is_not_noticed(place, log, methods, client):
    for number in range(3):
        with serving(place, log, methods):
            assert client.call("echo", value=number) == number


def test_a_bus_that_dies_before_it_answers_leaves_the_caller_in_no_doubt(served, client, held):
    def die():
        served.until(lambda: held)
        hang_up(served)

    thread = threading.Thread(target=die)
    thread.start()
    with pytest.raises(Disconnected):
        client.call("hold")
    thread.join()
    assert client.call("echo", value=1) == 1


def test_calls_of_several_threads_do_not_wait_for_each_other(served, client, held):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.call("hold")))
    thread.start()
    served.until(lambda: held)
    assert client.call("echo", value=1) == 1
    served.run(lambda: held[0].answer("at last"))
    thread.join(TIMEOUT)
    assert answers == ["at last"]


def test_close_wakes_those_who_wait(served, place, held):
    client, outcomes = Client(place), []

    def wait():
        try:
            client.call("hold")
        except Disconnected as error:
            outcomes.append(error)

    def listen():
        outcomes.extend(client.events("p"))
        outcomes.append("over")

    threads = [threading.Thread(target=wait), threading.Thread(target=listen)]
    for thread in threads:
        thread.start()
    served.until(lambda: held and served.bus.subscriptions)
    client.close()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(outcomes) == 2
    with pytest.raises(Disconnected):
        client.call("echo")


def test_close_wakes_one_who_waits_for_a_bus(place):
    client, begun = Client(place), threading.Event()
    client._try_to_connect = lambda: begun.set()  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: list(client.events("p")))
    thread.start()
    assert begun.wait(TIMEOUT)
    del client._try_to_connect
    client.close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_events_come_as_they_are_told(served, client):
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
def test_events_survive_breaks_without_a_gap_or_a_repetition(served, client, parent):
    seqs, events = [], client.events(parent, after=0)
    for round_ in range(5):
        for _ in range(4):
            served.publish("p")
        seqs += [event.seq for event in islice(events, 4 if round_ % 2 else 2)]
        hang_up(served)
    seqs += [event.seq for event in islice(events, 20 - len(seqs))]
    assert seqs == list(range(1, 21))
    events.close()


def test_everything_from_now_stays_from_then_over_a_break(served, client):
    served.publish("p")
    heard, seqs = threading.Event(), []

    def listen():
        seqs.append(next(client.events("*")).seq)
        heard.set()

    threading.Thread(target=listen, daemon=True).start()
    served.until(lambda: served.bus.subscriptions == 1)

    def break_and_tell():
        hang_up_now = list(served.bus._connections)
        for connection in hang_up_now:
            connection.close()
        return served.log.append("p").seq

    seq = served.run(break_and_tell)
    assert heard.wait(TIMEOUT)
    assert seqs == [seq]


def test_events_wait_for_a_bus_and_go_on_over_its_restart(place, log, methods, client):
    seqs, events = [], client.events("p", after=0)
    for _ in range(3):
        with serving(place, log, methods) as served:
            served.publish("p")
            seqs.append(next(events).seq)
    assert seqs == [1, 2, 3]
    events.close()


def test_another_log_is_heard_from_its_start(place, methods, client):
    first, second = MemoryLog("first"), MemoryLog("second")
    for log in (first, second):
        for _ in range(3):
            log.append("p")
    events = client.events("p")
    with serving(place, first, methods):
        assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    with serving(place, second, methods):
        assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    events.close()


def test_an_event_is_acknowledged_when_the_next_one_is_asked_for(served, client, log):
    for _ in range(3):
        served.publish("p")
    events = client.events("p", consumer="model", ack=True)
    assert next(events).seq == 1
    assert log.cursors == {}
    assert next(events).seq == 2
    assert log.cursors == {("p", "model"): 1}
    events.close()


def test_an_acknowledgement_that_was_lost_is_said_again_before_the_next_event(served, client, log):
    served.publish("p")
    events = client.events("p", ack=True)
    assert next(events).seq == 1
    hang_up(served)
    served.publish("p")
    assert next(events).seq == 2
    assert log.cursors == {("p", "default"): 1}
    events.close()


def test_events_are_not_acknowledged_unasked(served, client, log):
    for _ in range(3):
        served.publish("p")
    events = client.events("p")
    assert [event.seq for event in islice(events, 3)] == [1, 2, 3]
    events.close()
    assert log.cursors == {}


def test_a_wrong_subscription_is_an_error_and_no_endless_trying(served, client):
    with pytest.raises(InvalidInput) as refused:
        next(client.events("p", types=["nonesuch"]))
    assert refused.value.field == "types[0]"
    with pytest.raises(InvalidInput):
        served.publish("p")
        list(islice(client.events("*", after=0, ack=True), 2))


def test_a_server_that_talks_nonsense_is_one_that_is_gone():
    dialogue = client_module.RpcConnection()
    for data in (
        b"nonsense\n",
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32004,"message":"full"}}\n',
        b"",
    ):
        with pytest.raises(Disconnected):
            dialogue.receive(data)
