"""The server over real sockets: requests, subscriptions, slow readers, and more clients than it can take."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import selectors
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from backburner.ipc import lines
from backburner.ipc.bus import server, subscriptions
from backburner.ipc.bus.connection import HIGH_WATER, REQUESTS_PER_TURN
from backburner.ipc.bus.methods import DEFERRED, Method
from backburner.ipc.bus.server import MAX_CALLS, Bus
from backburner.ipc.errors import NotFound
from backburner.ipc.home import Home
from backburner.ipc.validation import Anything, Integer, Record
from tests.helpers.bus import MemoryLog, Peer, ServedBus, serving
from tests.helpers.wait import eventually

ANY_PARAMS = Record("params", {"value": Anything(), "size": Integer()})
MIB = 1024 * 1024


class Methods:
    """Methods that answer at once, later, with an error or not at all, and a record of their calls."""

    def __init__(self) -> None:
        self.deferred: list = []
        self.closed: list = []
        self.echoed: list = []

    def table(self) -> dict[str, Method]:
        return {
            "echo": Method(ANY_PARAMS, self._echo),
            "big": Method(ANY_PARAMS, lambda params, call: "x" * params["size"]),
            "missing": Method(ANY_PARAMS, self._missing),
            "broken": Method(ANY_PARAMS, lambda params, call: 1 / 0),
            "not_json": Method(ANY_PARAMS, lambda params, call: object()),
            "later": Method(ANY_PARAMS, self._later),
        }

    def _echo(self, params, call):
        self.echoed.append(params["value"])
        return params["value"]

    def _missing(self, params, call):
        raise NotFound(field="id")

    def _later(self, params, call):
        self.deferred.append(call)
        call.when_closed(lambda: self.closed.append(call))
        return DEFERRED


@pytest.fixture
def methods():
    return Methods()


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def served(home, log, methods):
    with serving(Home(home), log, methods.table()) as served:
        yield served


@pytest.fixture
def connect(served):
    peers = []

    def connect() -> Peer:
        peers.append(Peer(served.home.bus))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(connect):
    return connect()


# requests


def test_request_is_answered(peer):
    assert peer.call("echo", value={"ü": [1, None]}) == {"ü": [1, None]}


def test_requests_are_answered_in_order(peer):
    lines = [{"jsonrpc": "2.0", "id": n, "method": "echo", "params": {"value": n}} for n in range(500)]
    peer.send_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert [peer.receive()["result"] for _ in lines] == list(range(500))


def test_request_may_arrive_byte_by_byte(peer):
    for byte in b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":7}}\n':
        peer.send_bytes(bytes([byte]))
    assert peer.receive()["result"] == 7


@pytest.mark.parametrize(
    ("method", "code"),
    [("missing", -32001), ("unknown", -32601), ("broken", -32603), ("not_json", -32603)],
)
def test_error_is_answered_with_its_code_and_connection_stays_open(peer, method, code, caplog):
    assert peer.call(method)["code"] == code
    assert peer.call("echo", value=1) == 1


def test_error_names_the_wrong_parameter(peer):
    error = peer.call("subscribe", parentSessionId=7)
    assert (error["code"], error["data"]) == (-32602, {"field": "parentSessionId"})


def test_internal_error_does_not_reveal_its_cause(peer, caplog):
    assert "division" not in json.dumps(peer.call("broken"))
    assert "ZeroDivisionError" in caplog.text


def test_request_without_id_is_not_answered(peer, log):
    peer.send_bytes(b'{"jsonrpc":"2.0","method":"broken"}\n{"jsonrpc":"2.0","method":"unknown"}\n')
    assert peer.call("echo", value="only this") == "only this"


def test_later_request_may_be_answered_before_a_deferred_one(peer, served, methods):
    number = peer.send("later")
    assert peer.call("echo", value=1) == 1
    served.run(lambda: methods.deferred[0].answer("at last"))
    assert peer.receive() == {"jsonrpc": "2.0", "id": number, "result": "at last"}
    assert methods.closed == methods.deferred
    served.run(lambda: methods.deferred[0].fail(NotFound()))
    assert peer.call("echo", value=2) == 2


def test_call_is_closed_when_its_client_disconnects(connect, served, methods):
    peer = connect()
    peer.send("later")
    served.until(lambda: methods.deferred)
    peer.close()
    served.until(lambda: methods.closed)
    served.run(lambda: methods.deferred[0].answer("too late"))
    assert served.run(lambda: served.bus.connections) == 0


def test_open_calls_of_a_connection_are_limited(peer, served, methods):
    for _ in range(MAX_CALLS):
        peer.send("later")
    assert peer.call("echo", value=1)["code"] == -32004
    served.run(lambda: methods.deferred[0].answer(1))
    peer.receive()
    assert peer.call("echo", value=1) == 1


# malformed messages


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", -32700),
        (b"GET / HTTP/1.1\r", -32700),
        (b"\x00\xff\x80", -32700),
        (b"[" * 900_000, -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"2.0","id":[],"method":"echo"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":[]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{}}', -32602),
    ],
)
def test_malformed_request_is_refused_and_connection_stays_open(peer, line, code):
    peer.send_bytes(line + b"\n")
    assert peer.receive()["error"]["code"] == code
    assert peer.call("echo", value=1) == 1


def test_two_mebibytes_without_newline_end_the_connection(peer, connect):
    peer.send_bytes(b"x" * (2 * MIB))
    answer = peer.receive()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert peer.receive() == {}
    assert connect().call("echo", value=1) == 1


def test_requests_before_an_overlong_line_are_answered(peer):
    peer.send("echo", value=1)
    peer.send_bytes(b"x" * (MIB + 1) + b"\n")
    peer.send("echo", value=2)
    assert peer.receive()["result"] == 1
    assert peer.receive()["error"]["code"] == -32600
    assert peer.receive() == {}


def test_line_of_exactly_one_mebibyte_is_served(peer):
    head = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":"'
    tail = b'"}}'
    peer.send_bytes(head + b"x" * (MIB - len(head) - len(tail)) + tail + b"\n")
    assert len(peer.receive()["result"]) == MIB - len(head) - len(tail)


def test_endless_flood_after_a_refusal_is_cut_off(connect, served):
    peer = connect()
    with pytest.raises(OSError):
        while True:
            peer.send_bytes(b"x" * MIB)
    served.until(lambda: served.bus.connections == 0)


def test_incomplete_line_at_end_of_stream_is_dropped(peer, served):
    peer.send_bytes(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":1}}\n{"jsonrpc":"2.0","id":2,"meth')
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.receive()["result"] == 1
    assert peer.receive() == {}
    served.until(lambda: served.bus.connections == 0)


def test_client_that_finished_sending_still_receives(peer, served, methods):
    peer.send("later")
    peer.send("subscribe", parentSessionId="p")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.receive()
    served.run(lambda: methods.deferred[0].answer("still"))
    assert peer.receive()["result"] == "still"
    seq = served.publish("p")
    assert peer.seqs(1) == [seq]


def test_client_that_disconnects_abruptly_is_forgotten(connect, served):
    for _ in range(50):
        peer = connect()
        peer.call("subscribe", parentSessionId="p")
        peer.send("big", size=MIB)
        peer.close()
    served.until(lambda: served.bus.connections == 0)
    assert served.bus.subscriptions == 0


# subscriptions


def test_subscriber_receives_new_events(peer, served):
    assert peer.call("subscribe", parentSessionId="p") == {"seq": 0, "log": "log-1"}
    seq = served.publish("p", "background_task_stale", taskId="bg-1", idleMs=7)
    assert peer.receive() == {
        "jsonrpc": "2.0",
        "method": "background_task_stale",
        "params": {
            "seq": seq,
            "type": "background_task_stale",
            "at": "2026-01-01T00:00:00.000Z",
            "parentSessionId": "p",
            "taskId": "bg-1",
            "idleMs": 7,
        },
    }


def test_subscribe_is_answered_before_any_event(peer, served):
    for _ in range(200):
        served.publish("p")
    assert peer.call("subscribe", parentSessionId="p") == {"seq": 200, "log": "log-1"}
    assert peer.seqs(200) == list(range(1, 201))


def test_subscription_starts_after_given_number(peer, served):
    for _ in range(10):
        served.publish("p")
    peer.call("subscribe", parentSessionId="p", after=7)
    assert peer.seqs(3) == [8, 9, 10]


def test_subscription_without_number_starts_at_cursor_of_consumer(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.cursors = {("p", "default"): 8, ("p", "model"): 9}
    peer.call("subscribe", parentSessionId="p")
    assert peer.seqs(2) == [9, 10]
    peer.call("subscribe", parentSessionId="p", consumer="model")
    assert peer.seqs(1) == [10]


def test_subscription_to_all_starts_now_and_includes_tasks_without_parent(peer, served):
    served.publish("p")
    assert peer.call("subscribe", parentSessionId="*")["seq"] == 1
    for parent in ("p", None, "q"):
        served.publish(parent)
    assert peer.seqs(3) == [2, 3, 4]


def test_parent_receives_no_events_of_others(peer, served):
    peer.call("subscribe", parentSessionId="p", after=0)
    for parent in ("q", None, "p"):
        served.publish(parent)
    assert peer.seqs(1) == [3]


def test_event_of_a_parent_named_like_all_is_sent_once(peer, served):
    peer.call("subscribe", parentSessionId="*")
    served.publish("*")
    served.publish("p")
    assert peer.seqs(2) == [1, 2]


@pytest.mark.parametrize("parent", ["p", "*"])
def test_number_beyond_the_log_is_reported_and_all_events_follow(peer, served, parent):
    served.publish("p")
    answer = peer.call("subscribe", parentSessionId=parent, after=1000)
    assert (answer["seq"], answer["log"]) == (1, "log-1")
    event = peer.receive()
    assert (event["method"], event["params"]["firstSeq"], event["params"]["seq"]) == ("log_truncated", 1, 0)
    served.publish("p")
    assert peer.seqs(2) == [1, 2]


def test_number_beyond_the_log_starts_at_first_event_kept(peer, served):
    for _ in range(3):
        served.publish("p")
    served.run(lambda: served.log.prune("p", 2))
    peer.call("subscribe", parentSessionId="p", after=1000)
    assert peer.receive()["params"]["firstSeq"] == 3
    assert peer.seqs(1) == [3]


def test_last_number_of_the_log_is_a_valid_start(peer, served):
    served.publish("p")
    peer.call("subscribe", parentSessionId="p", after=1)
    served.publish("p")
    assert peer.seqs(1) == [2]


@pytest.mark.parametrize("after", [-1, True, "1", 1.5, [], 2**60, 10**400])
def test_invalid_start_is_refused(peer, after):
    error = peer.call("subscribe", parentSessionId="p", after=after)
    assert (error["code"], error["data"]["field"]) == (-32602, "after")


def test_only_subscribed_types_are_sent_from_the_log_and_live(peer, served):
    for _ in range(100):
        served.publish("p")
    served.publish("p", "background_task_stale")
    peer.call("subscribe", parentSessionId="p", types=["background_task_stale"])
    assert peer.seqs(1) == [101]
    served.publish("p")
    served.publish("p", "background_task_stale")
    assert peer.seqs(1) == [103]


def test_unknown_event_type_is_refused(peer):
    assert peer.call("subscribe", parentSessionId="p", types=["x"])["data"]["field"] == "types[0]"


def test_overlapping_subscriptions_each_receive_the_event(peer, served):
    peer.call("subscribe", parentSessionId="p", after=0)
    peer.call("subscribe", parentSessionId="p", after=0, consumer="other")
    peer.call("subscribe", parentSessionId="*")
    served.publish("p")
    assert peer.seqs(3) == [1, 1, 1]


def test_unsubscribe_ends_the_subscription_of_that_consumer(peer, served):
    peer.call("subscribe", parentSessionId="p")
    peer.call("subscribe", parentSessionId="p", consumer="other")
    assert peer.call("unsubscribe", parentSessionId="p") == {"ended": True}
    assert peer.call("unsubscribe", parentSessionId="p") == {"ended": False}
    served.publish("p")
    assert peer.seqs(1) == [1]
    assert peer.call("unsubscribe", parentSessionId="p", consumer="other") == {"ended": True}
    served.publish("p")
    assert peer.call("echo", value="nothing before this") == "nothing before this"
    assert served.bus.subscriptions == 0


def test_event_published_twice_is_delivered_once(peer, served, log):
    peer.call("subscribe", parentSessionId="p")
    seq = served.publish("p")
    served.run(lambda: served.bus.publish(log.lines))
    served.publish("p")
    assert peer.seqs(2) == [seq, seq + 1]


def test_event_read_from_log_before_publication_is_delivered_once(peer, served, log):
    line = log.append("p")
    peer.call("subscribe", parentSessionId="p", after=0)
    assert peer.seqs(1) == [1]
    served.run(lambda: served.bus.publish([line]))
    served.publish("p")
    assert peer.seqs(1) == [2]


def test_publish_does_not_read_the_log_for_other_subscriptions(peer, served, log):
    for number in range(10_000):
        peer.send("subscribe", parentSessionId=f"p{number}")
        peer.receive()
    assert served.bus.subscriptions == 10_000
    pages = log.pages
    served.publish("p77")
    assert peer.seqs(1) == [1]
    assert log.pages == pages


def test_subscriptions_of_a_connection_are_limited(peer, served, monkeypatch):
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 3)
    answers = [peer.call("subscribe", parentSessionId="p") for _ in range(4)]
    assert [answer.get("code") for answer in answers] == [None, None, None, -32003]


def test_cursor_older_than_the_log_gets_log_truncated(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.prune("p", 6)
    peer.call("subscribe", parentSessionId="p", after=2)
    lost = peer.receive()
    assert (lost["method"], lost["params"]["firstSeq"], lost["params"]["seq"]) == ("log_truncated", 7, 6)
    assert peer.seqs(4) == [7, 8, 9, 10]


def test_truncation_of_the_whole_log_is_reported_once(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.prune("p", 10)
    peer.call("subscribe", parentSessionId="p", after=2, types=["background_task_stale"])
    assert peer.receive()["params"]["firstSeq"] == 11
    served.publish("p", "background_task_stale")
    assert peer.seqs(1) == [11]


def test_unreadable_log_ends_only_that_connection(connect, log, caplog, monkeypatch):
    peer = connect()
    monkeypatch.setattr(log, "page", lambda *arguments: 1 / 0)
    peer.call("subscribe", parentSessionId="p")
    assert peer.receive()["error"]["code"] == -32004
    assert peer.receive() == {}
    monkeypatch.undo()
    assert connect().call("echo", value=1) == 1


# acknowledgements


def test_subscription_continues_after_acknowledged_event(peer, connect, served, log):
    for _ in range(5):
        served.publish("p")
    assert peer.call("ack", parentSessionId="p", seq=3) == {"seq": 3}
    assert peer.call("ack", parentSessionId="p", seq=2) == {"seq": 3}
    other = connect()
    other.call("subscribe", parentSessionId="p")
    assert other.seqs(2) == [4, 5]


@pytest.mark.parametrize("seq", [-1, True, "1", None, 6, 2**53, 10**30])
def test_invalid_acknowledgement_is_refused(peer, served, log, seq):
    for _ in range(5):
        served.publish("p")
    error = peer.call("ack", parentSessionId="p", seq=seq)
    assert (error["code"], error["data"]["field"]) == (-32602, "seq")
    assert log.cursors == {}


def test_events_of_all_sessions_cannot_be_acknowledged(peer, served):
    served.publish("p")
    assert peer.call("ack", parentSessionId="*", seq=1)["data"]["field"] == "parentSessionId"


# slow readers and floods


def test_slow_reader_uses_bounded_memory_and_loses_nothing(connect, served):
    slow, fast = connect(), connect()
    slow.call("subscribe", parentSessionId="p")
    fast.call("subscribe", parentSessionId="p")
    for number in range(400):
        served.publish("p", result="x" * 8192)
        assert fast.receive()["params"]["seq"] == number + 1
    assert served.run(lambda: max(len(known._out) for known in served.bus._connections)) < HIGH_WATER + 16 * 1024
    assert slow.seqs(400) == list(range(1, 401))


def test_lagging_subscription_receives_the_same_events(connect, served):
    peer = connect()
    peer.call("subscribe", parentSessionId="p", after=0)
    peer.call("subscribe", parentSessionId="*")
    for _ in range(300):
        served.publish("p", result="x" * 4096)
    seqs = peer.seqs(600)
    assert sorted(seqs) == sorted([*range(1, 301), *range(1, 301)])


def test_client_that_does_not_read_is_not_served_further(connect, served, methods):
    greedy, other = connect(), connect()
    for _ in range(40):
        greedy.send("big", size=64 * 1024)
    assert other.call("echo", value=1) == 1
    assert served.run(lambda: max(len(known._out) for known in served.bus._connections)) < HIGH_WATER + 128 * 1024
    assert [len(greedy.receive()["result"]) for _ in range(40)] == [64 * 1024] * 40


def test_answer_of_many_mebibytes_arrives(peer):
    assert len(peer.call("big", size=20 * MIB)) == 20 * MIB


def test_flood_of_requests_does_not_starve_other_clients(connect, served, methods):
    flood, other = connect(), connect()
    for peer in (flood, other):
        peer.call("echo", value="here")
    line = json.dumps({"jsonrpc": "2.0", "method": "echo", "params": {"value": "flood"}}).encode() + b"\n"

    def both_at_once() -> None:
        methods.echoed.clear()
        flood.send_bytes(line * 1000)
        other.send("echo", value="other")

    served.run(both_at_once)
    assert other.receive()["result"] == "other"
    assert methods.echoed.index("other") <= REQUESTS_PER_TURN
    served.until(lambda: len(methods.echoed) == 1001)


def test_idle_bus_does_not_wake_up(connect, served):
    peers = [connect() for _ in range(20)]
    for peer in peers:
        peer.call("subscribe", parentSessionId="p")
    half = connect()
    half.call("subscribe", parentSessionId="p")
    half.socket.shutdown(socket.SHUT_WR)
    served.until(lambda: any(known._at_end for known in served.bus._connections))
    before = served.run(lambda: served.turns)
    assert served.run(lambda: served.turns) == before + 1


def test_hundreds_of_connections_receive_each_event(connect, served):
    peers = [connect() for _ in range(200)]
    for peer in peers:
        peer.call("subscribe", parentSessionId="p")
    seq = served.publish("p")
    assert [peer.seqs(1) for peer in peers] == [[seq]] * 200


# connections


@pytest.fixture
def no_descriptors():
    """Return a function that leaves this process without free file descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def take_all() -> None:
        taken.append(fcntl.fcntl(0, fcntl.F_DUPFD, max(int(open.name) for open in Path("/dev/fd").iterdir()) + 1))
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))

    yield take_all
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in taken:
        os.close(descriptor)


def test_new_clients_are_rejected_and_old_ones_served_without_descriptors(connect, served, no_descriptors, monkeypatch):
    peer = connect()
    peer.call("echo", value=1)
    monkeypatch.setattr(server, "_max_clients", lambda: 10_000)
    new_clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    no_descriptors()
    for client in new_clients:
        client.settimeout(20)
        client.connect(served.home.bus)
        assert client.recv(1) == b""
    before = served.run(lambda: served.turns)
    assert peer.call("echo", value=2) == 2
    assert served.run(lambda: served.turns) - before < 10
    for client in new_clients:
        client.close()


def test_bus_accepts_again_when_a_descriptor_is_free(connect, served):
    peer = connect()
    peer.call("echo", value=1)
    served.run(served.bus._pause)
    waiting = connect()
    waiting.send("echo", value=2)
    peer.close()
    assert waiting.receive()["result"] == 2


def test_clients_beyond_capacity_are_refused(connect, served, monkeypatch):
    monkeypatch.setattr(server, "_max_clients", lambda: 3)
    peers = [connect() for _ in range(3)]
    for peer in peers:
        peer.call("echo", value=1)
    assert connect().receive()["error"]["code"] == -32004
    peers[0].close()
    served.until(lambda: served.bus.connections == 2)
    assert connect().call("echo", value=2) == 2


def test_clients_that_hung_up_make_room_for_new_ones(connect, served, monkeypatch):
    monkeypatch.setattr(server, "_max_clients", lambda: 1)
    peer = connect()
    peer.call("subscribe", parentSessionId="p")
    peer.socket.shutdown(socket.SHUT_WR)
    served.until(lambda: all(known._at_end for known in served.bus._connections))
    peer.close()
    assert connect().call("echo", value=1) == 1


def test_another_user_is_refused(connect, monkeypatch):
    assert connect().call("echo", value=1) == 1
    monkeypatch.setattr(server, "peer_uid", lambda client: os.geteuid() + 1)
    assert connect().receive() == {}


def test_peer_uid_is_that_of_this_user():
    one, other = socket.socketpair()
    with one, other:
        assert server.peer_uid(one) == os.geteuid()


def test_socket_is_accessible_only_to_its_owner(served):
    found = served.home.socket.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert not (served.home.folder / "bus.new").exists()


def test_second_bus_replaces_the_socket_and_the_first_leaves_it_there(served, log, connect):
    old = connect()
    assert old.call("echo", value=1) == 1
    with serving(served.home, log, {"echo": Method(ANY_PARAMS, lambda params, call: "second")}):
        assert connect().call("echo") == "second"
        assert old.call("echo", value=2) == 2
        served.run(served.bus.close)
        assert old.receive() == {}
        assert connect().call("echo") == "second"
    assert not served.home.socket.exists()


def test_bus_is_reachable_in_a_deeply_nested_home(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = Home(tmp_path.joinpath(*["a" * 50] * 4, ".backburner")).prepare()
    with serving(home, MemoryLog(), Methods().table()) as served:
        peer = Peer(served.home.bus)
        assert peer.call("echo", value=1) == 1
        peer.close()


def test_socket_of_a_killed_bus_is_replaced(home, log):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(Home(home).bus)
    dead.close()
    with serving(Home(home), log, Methods().table()):
        peer = Peer(Home(home).bus)
        assert peer.call("echo", value=1) == 1
        peer.close()


def test_failed_open_leaks_no_descriptor(tmp_path):
    with selectors.DefaultSelector() as selector:
        bus = Bus(selector, Home(tmp_path / "missing"), MemoryLog(), {})
        with pytest.raises(OSError):
            bus.open()
        bus.close()


def test_every_frame_is_one_line(served, peer):
    peer.call("subscribe", parentSessionId="p")
    served.publish("p", text="a\nb\u2028c")
    assert peer.receive()["params"]["text"] == "a\nb\u2028c"
    assert lines.MAX_LINE == MIB


def test_helper_raises_errors_of_the_server_thread(served: ServedBus):
    with pytest.raises(ZeroDivisionError):
        served.run(lambda: 1 / 0)
    assert eventually(lambda: True)
