"""The server's end of the bus, over real sockets: who is served, who is refused; nobody else notices."""

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
from tests.helpers.bus import MemoryLog, Peer, Served, serving
from tests.helpers.wait import eventually

FREE = Record("free", {"value": Anything(), "size": Integer()})
MIB = 1024 * 1024


class Desk:
    """Methods to be asked for by tests."""

    def __init__(self) -> None:
        self.waiting: list = []
        self.abandoned: list = []
        self.echoed: list = []

    def table(self) -> dict[str, Method]:
        return {
            "echo": Method(FREE, self._echo),
            "big": Method(FREE, lambda params, call: "x" * params["size"]),
            "missing": Method(FREE, self._missing),
            "broken": Method(FREE, lambda params, call: 1 / 0),
            "unspeakable": Method(FREE, lambda params, call: object()),
            "later": Method(FREE, self._later),
        }

    def _echo(self, params, call):
        self.echoed.append(params["value"])
        return params["value"]

    def _missing(self, params, call):
        raise NotFound(field="id")

    def _later(self, params, call):
        self.waiting.append(call)
        call.when_closed(lambda: self.abandoned.append(call))
        return DEFERRED


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def served(home, log, desk):
    with serving(Home(home), log, desk.table()) as served:
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


def test_a_request_is_answered(peer):
    assert peer.call("echo", value={"ü": [1, None]}) == {"ü": [1, None]}


def test_requests_are_answered_in_the_order_in_which_they_came(peer):
    lines = [{"jsonrpc": "2.0", "id": n, "method": "echo", "params": {"value": n}} for n in range(500)]
    peer.send_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    assert [peer.receive()["result"] for _ in lines] == list(range(500))


def test_a_request_may_come_byte_by_byte(peer):
    for byte in b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":7}}\n':
        peer.send_bytes(bytes([byte]))
    assert peer.receive()["result"] == 7


@pytest.mark.parametrize(
    ("method", "code"),
    [("missing", -32001), ("nonesuch", -32601), ("broken", -32603), ("unspeakable", -32603)],
)
def test_what_goes_wrong_is_answered_with_its_code_and_the_connection_lives(peer, method, code, caplog):
    assert peer.call(method)["code"] == code
    assert peer.call("echo", value=1) == 1


def test_a_wrong_parameter_is_named(peer):
    error = peer.call("subscribe", parentSessionId=7)
    assert (error["code"], error["data"]) == (-32602, {"field": "parentSessionId"})


def test_the_servers_inside_is_not_told(peer, caplog):
    assert "division" not in json.dumps(peer.call("broken"))
    assert "ZeroDivisionError" in caplog.text


def test_a_request_without_an_id_is_carried_out_and_not_answered(peer, log):
    peer.send_bytes(b'{"jsonrpc":"2.0","method":"broken"}\n{"jsonrpc":"2.0","method":"nonesuch"}\n')
    assert peer.call("echo", value="only this") == "only this"


def test_an_answer_may_come_later_and_others_overtake_it(peer, served, desk):
    number = peer.send("later")
    assert peer.call("echo", value=1) == 1
    served.run(lambda: desk.waiting[0].answer("at last"))
    assert peer.receive() == {"jsonrpc": "2.0", "id": number, "result": "at last"}
    assert desk.abandoned == desk.waiting
    served.run(lambda: desk.waiting[0].fail(NotFound()))
    assert peer.call("echo", value=2) == 2


def test_a_call_is_closed_when_its_client_leaves(connect, served, desk):
    peer = connect()
    peer.send("later")
    served.until(lambda: desk.waiting)
    peer.close()
    served.until(lambda: desk.abandoned)
    served.run(lambda: desk.waiting[0].answer("to nobody"))
    assert served.run(lambda: served.bus.connections) == 0


def test_one_connection_may_not_hold_calls_without_bound(peer, served, desk):
    for _ in range(MAX_CALLS):
        peer.send("later")
    assert peer.call("echo", value=1)["code"] == -32004
    served.run(lambda: desk.waiting[0].answer(1))
    peer.receive()
    assert peer.call("echo", value=1) == 1


# rubbish


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
def test_rubbish_is_refused_and_the_connection_lives(peer, line, code):
    peer.send_bytes(line + b"\n")
    assert peer.receive()["error"]["code"] == code
    assert peer.call("echo", value=1) == 1


def test_two_mebibytes_without_a_newline_are_refused_and_the_connection_ends(peer, connect):
    peer.send_bytes(b"x" * (2 * MIB))
    answer = peer.receive()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert peer.receive() == {}
    assert connect().call("echo", value=1) == 1


def test_a_line_that_is_too_long_is_refused_after_those_before_it_were_answered(peer):
    peer.send("echo", value=1)
    peer.send_bytes(b"x" * (MIB + 1) + b"\n")
    peer.send("echo", value=2)
    assert peer.receive()["result"] == 1
    assert peer.receive()["error"]["code"] == -32600
    assert peer.receive() == {}


def test_a_line_of_exactly_one_mebibyte_is_served(peer):
    head = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":"'
    tail = b'"}}'
    peer.send_bytes(head + b"x" * (MIB - len(head) - len(tail)) + tail + b"\n")
    assert len(peer.receive()["result"]) == MIB - len(head) - len(tail)


def test_an_endless_flood_after_a_refusal_is_cut_off(connect, served):
    peer = connect()
    with pytest.raises(OSError):
        while True:
            peer.send_bytes(b"x" * MIB)
    served.until(lambda: served.bus.connections == 0)


def test_half_a_line_at_the_end_is_dropped(peer, served):
    peer.send_bytes(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":1}}\n{"jsonrpc":"2.0","id":2,"meth')
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.receive()["result"] == 1
    assert peer.receive() == {}
    served.until(lambda: served.bus.connections == 0)


def test_one_who_has_finished_speaking_still_gets_its_answers_and_events(peer, served, desk):
    peer.send("later")
    peer.send("subscribe", parentSessionId="p")
    peer.socket.shutdown(socket.SHUT_WR)
    peer.receive()
    served.run(lambda: desk.waiting[0].answer("still"))
    assert peer.receive()["result"] == "still"
    seq = served.publish("p")
    assert peer.seqs(1) == [seq]


def test_one_who_leaves_without_a_word_is_let_go(connect, served):
    for _ in range(50):
        peer = connect()
        peer.call("subscribe", parentSessionId="p")
        peer.send("big", size=MIB)
        peer.close()
    served.until(lambda: served.bus.connections == 0)
    assert served.bus.subscriptions == 0


# subscriptions


def test_a_subscriber_hears_what_comes(peer, served):
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


def test_the_answer_comes_before_any_event(peer, served):
    for _ in range(200):
        served.publish("p")
    assert peer.call("subscribe", parentSessionId="p") == {"seq": 200, "log": "log-1"}
    assert peer.seqs(200) == list(range(1, 201))


def test_a_subscriber_begins_after_the_number_it_gives(peer, served):
    for _ in range(10):
        served.publish("p")
    peer.call("subscribe", parentSessionId="p", after=7)
    assert peer.seqs(3) == [8, 9, 10]


def test_without_a_number_it_begins_at_its_consumers_cursor(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.cursors = {("p", "default"): 8, ("p", "model"): 9}
    peer.call("subscribe", parentSessionId="p")
    assert peer.seqs(2) == [9, 10]
    peer.call("subscribe", parentSessionId="p", consumer="model")
    assert peer.seqs(1) == [10]


def test_everyone_begins_now_and_hears_also_of_tasks_without_a_parent(peer, served):
    served.publish("p")
    assert peer.call("subscribe", parentSessionId="*")["seq"] == 1
    for parent in ("p", None, "q"):
        served.publish(parent)
    assert peer.seqs(3) == [2, 3, 4]


def test_a_parent_hears_nothing_of_others(peer, served):
    peer.call("subscribe", parentSessionId="p", after=0)
    for parent in ("q", None, "p"):
        served.publish(parent)
    assert peer.seqs(1) == [3]


def test_a_parent_that_is_called_as_everyone_is_heard_once(peer, served):
    peer.call("subscribe", parentSessionId="*")
    served.publish("*")
    served.publish("p")
    assert peer.seqs(2) == [1, 2]


@pytest.mark.parametrize("parent", ["p", "*"])
def test_a_number_of_another_log_is_told_as_lost_and_nothing_is_missed(peer, served, parent):
    served.publish("p")
    answer = peer.call("subscribe", parentSessionId=parent, after=1000)
    assert (answer["seq"], answer["log"]) == (1, "log-1")
    told = peer.receive()
    assert (told["method"], told["params"]["firstSeq"], told["params"]["seq"]) == ("log_truncated", 1, 0)
    served.publish("p")
    assert peer.seqs(2) == [1, 2]


def test_a_number_of_another_log_begins_with_what_is_kept(peer, served):
    for _ in range(3):
        served.publish("p")
    served.run(lambda: served.log.prune("p", 2))
    peer.call("subscribe", parentSessionId="p", after=1000)
    assert peer.receive()["params"]["firstSeq"] == 3
    assert peer.seqs(1) == [3]


def test_the_last_number_of_the_log_is_its_own(peer, served):
    served.publish("p")
    peer.call("subscribe", parentSessionId="p", after=1)
    served.publish("p")
    assert peer.seqs(1) == [2]


@pytest.mark.parametrize("after", [-1, True, "1", 1.5, [], 2**60, 10**400])
def test_a_number_that_is_none_is_refused(peer, after):
    error = peer.call("subscribe", parentSessionId="p", after=after)
    assert (error["code"], error["data"]["field"]) == (-32602, "after")


def test_only_the_types_asked_for_are_told_whether_old_or_new(peer, served):
    for _ in range(100):
        served.publish("p")
    served.publish("p", "background_task_stale")
    peer.call("subscribe", parentSessionId="p", types=["background_task_stale"])
    assert peer.seqs(1) == [101]
    served.publish("p")
    served.publish("p", "background_task_stale")
    assert peer.seqs(1) == [103]


def test_a_type_that_does_not_exist_is_refused(peer):
    assert peer.call("subscribe", parentSessionId="p", types=["x"])["data"]["field"] == "types[0]"


def test_overlapping_subscriptions_each_get_their_copy(peer, served):
    peer.call("subscribe", parentSessionId="p", after=0)
    peer.call("subscribe", parentSessionId="p", after=0, consumer="other")
    peer.call("subscribe", parentSessionId="*")
    served.publish("p")
    assert peer.seqs(3) == [1, 1, 1]


def test_a_subscription_can_be_ended(peer, served):
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


def test_what_is_told_a_second_time_is_passed_on_once(peer, served, log):
    peer.call("subscribe", parentSessionId="p")
    seq = served.publish("p")
    served.run(lambda: served.bus.publish(log.lines))
    served.publish("p")
    assert peer.seqs(2) == [seq, seq + 1]


def test_a_line_that_was_read_from_the_log_before_it_was_told_is_passed_on_once(peer, served, log):
    line = log.append("p")
    peer.call("subscribe", parentSessionId="p", after=0)
    assert peer.seqs(1) == [1]
    served.run(lambda: served.bus.publish([line]))
    served.publish("p")
    assert peer.seqs(1) == [2]


def test_subscriptions_that_are_not_concerned_cost_nothing(peer, served, log):
    for number in range(10_000):
        peer.send("subscribe", parentSessionId=f"p{number}")
        peer.receive()
    assert served.bus.subscriptions == 10_000
    pages = log.pages
    served.publish("p77")
    assert peer.seqs(1) == [1]
    assert log.pages == pages


def test_one_connection_may_not_hold_subscriptions_without_bound(peer, served, monkeypatch):
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 3)
    answers = [peer.call("subscribe", parentSessionId="p") for _ in range(4)]
    assert [answer.get("code") for answer in answers] == [None, None, None, -32003]


def test_a_subscriber_whose_cursor_is_too_old_is_told_what_it_missed(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.prune("p", 6)
    peer.call("subscribe", parentSessionId="p", after=2)
    lost = peer.receive()
    assert (lost["method"], lost["params"]["firstSeq"], lost["params"]["seq"]) == ("log_truncated", 7, 6)
    assert peer.seqs(4) == [7, 8, 9, 10]


def test_a_log_that_was_pruned_altogether_is_told_once(peer, served, log):
    for _ in range(10):
        served.publish("p")
    log.prune("p", 10)
    peer.call("subscribe", parentSessionId="p", after=2, types=["background_task_stale"])
    assert peer.receive()["params"]["firstSeq"] == 11
    served.publish("p", "background_task_stale")
    assert peer.seqs(1) == [11]


def test_a_log_that_cannot_be_read_ends_the_connection_and_no_more(connect, log, caplog, monkeypatch):
    peer = connect()
    monkeypatch.setattr(log, "page", lambda *arguments: 1 / 0)
    peer.call("subscribe", parentSessionId="p")
    assert peer.receive()["error"]["code"] == -32004
    assert peer.receive() == {}
    monkeypatch.undo()
    assert connect().call("echo", value=1) == 1


# acknowledging


def test_a_consumer_acknowledges_and_goes_on_from_there(peer, connect, served, log):
    for _ in range(5):
        served.publish("p")
    assert peer.call("ack", parentSessionId="p", seq=3) == {"seq": 3}
    assert peer.call("ack", parentSessionId="p", seq=2) == {"seq": 3}
    other = connect()
    other.call("subscribe", parentSessionId="p")
    assert other.seqs(2) == [4, 5]


@pytest.mark.parametrize("seq", [-1, True, "1", None, 6, 2**53, 10**30])
def test_what_cannot_be_acknowledged_is_refused(peer, served, log, seq):
    for _ in range(5):
        served.publish("p")
    error = peer.call("ack", parentSessionId="p", seq=seq)
    assert (error["code"], error["data"]["field"]) == (-32602, "seq")
    assert log.cursors == {}


def test_what_everyone_is_told_cannot_be_acknowledged(peer, served):
    served.publish("p")
    assert peer.call("ack", parentSessionId="*", seq=1)["data"]["field"] == "parentSessionId"


# slow readers and floods


def test_a_slow_reader_costs_little_memory_and_loses_nothing(connect, served):
    slow, quick = connect(), connect()
    slow.call("subscribe", parentSessionId="p")
    quick.call("subscribe", parentSessionId="p")
    for number in range(400):
        served.publish("p", result="x" * 8192)
        assert quick.receive()["params"]["seq"] == number + 1
    assert served.run(lambda: max(len(known._out) for known in served.bus._connections)) < HIGH_WATER + 16 * 1024
    assert slow.seqs(400) == list(range(1, 401))


def test_a_subscriber_that_lags_and_one_that_does_not_hear_the_same(connect, served):
    peer = connect()
    peer.call("subscribe", parentSessionId="p", after=0)
    peer.call("subscribe", parentSessionId="*")
    for _ in range(300):
        served.publish("p", result="x" * 4096)
    seqs = peer.seqs(600)
    assert sorted(seqs) == sorted([*range(1, 301), *range(1, 301)])


def test_one_who_does_not_read_its_answers_is_not_served_further(connect, served, desk):
    greedy, other = connect(), connect()
    for _ in range(40):
        greedy.send("big", size=64 * 1024)
    assert other.call("echo", value=1) == 1
    assert served.run(lambda: max(len(known._out) for known in served.bus._connections)) < HIGH_WATER + 128 * 1024
    assert [len(greedy.receive()["result"]) for _ in range(40)] == [64 * 1024] * 40


def test_an_answer_of_many_mebibytes_arrives(peer):
    assert len(peer.call("big", size=20 * MIB)) == 20 * MIB


def test_a_flood_of_requests_does_not_starve_the_others(connect, served, desk):
    flood, other = connect(), connect()
    for peer in (flood, other):
        peer.call("echo", value="here")
    line = json.dumps({"jsonrpc": "2.0", "method": "echo", "params": {"value": "flood"}}).encode() + b"\n"

    def both_at_once() -> None:
        desk.echoed.clear()
        flood.send_bytes(line * 1000)
        other.send("echo", value="other")

    served.run(both_at_once)
    assert other.receive()["result"] == "other"
    assert desk.echoed.index("other") <= REQUESTS_PER_TURN
    served.until(lambda: len(desk.echoed) == 1001)


def test_an_idle_bus_does_not_turn(connect, served):
    peers = [connect() for _ in range(20)]
    for peer in peers:
        peer.call("subscribe", parentSessionId="p")
    half = connect()
    half.call("subscribe", parentSessionId="p")
    half.socket.shutdown(socket.SHUT_WR)
    served.until(lambda: any(known._at_end for known in served.bus._connections))
    before = served.run(lambda: served.turns)
    assert served.run(lambda: served.turns) == before + 1


def test_hundreds_of_connections_hear_each_event(connect, served):
    peers = [connect() for _ in range(200)]
    for peer in peers:
        peer.call("subscribe", parentSessionId="p")
    seq = served.publish("p")
    assert [peer.seqs(1) for peer in peers] == [[seq]] * 200


# connections


@pytest.fixture
def no_descriptors():
    """Leave this process no more descriptors than it has."""
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


def test_out_of_descriptors_new_clients_are_refused_and_old_ones_served(connect, served, no_descriptors, monkeypatch):
    peer = connect()
    peer.call("echo", value=1)
    monkeypatch.setattr(server, "_max_clients", lambda: 10_000)
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    no_descriptors()
    for stranger in strangers:
        stranger.settimeout(20)
        stranger.connect(served.home.bus)
        assert stranger.recv(1) == b""
    before = served.run(lambda: served.turns)
    assert peer.call("echo", value=2) == 2
    assert served.run(lambda: served.turns) - before < 10
    for stranger in strangers:
        stranger.close()


def test_it_listens_again_when_a_descriptor_is_free(connect, served):
    peer = connect()
    peer.call("echo", value=1)
    served.run(served.bus._pause)
    waiting = connect()
    waiting.send("echo", value=2)
    peer.close()
    assert waiting.receive()["result"] == 2


def test_there_is_room_for_the_server_beside_its_clients(connect, served, monkeypatch):
    monkeypatch.setattr(server, "_max_clients", lambda: 3)
    peers = [connect() for _ in range(3)]
    for peer in peers:
        peer.call("echo", value=1)
    assert connect().receive()["error"]["code"] == -32004
    peers[0].close()
    served.until(lambda: served.bus.connections == 2)
    assert connect().call("echo", value=2) == 2


def test_those_who_left_unnoticed_make_room(connect, served, monkeypatch):
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


def test_the_peer_is_this_user():
    one, other = socket.socketpair()
    with one, other:
        assert server.peer_uid(one) == os.geteuid()


def test_the_socket_is_for_its_owner_alone(served):
    found = served.home.socket.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert not (served.home.folder / "bus.new").exists()


def test_a_second_bus_takes_the_socket_over_and_the_first_leaves_it_alone(served, log, connect):
    old = connect()
    assert old.call("echo", value=1) == 1
    with serving(served.home, log, {"echo": Method(FREE, lambda params, call: "second")}):
        assert connect().call("echo") == "second"
        assert old.call("echo", value=2) == 2
        served.run(served.bus.close)
        assert old.receive() == {}
        assert connect().call("echo") == "second"
    assert not served.home.socket.exists()


def test_it_can_be_reached_however_deep_its_home_is(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = Home(tmp_path.joinpath(*["a" * 50] * 4, ".backburner")).prepare()
    with serving(home, MemoryLog(), Desk().table()) as served:
        peer = Peer(served.home.bus)
        assert peer.call("echo", value=1) == 1
        peer.close()


def test_a_socket_that_a_killed_bus_left_is_taken_over(home, log):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(Home(home).bus)
    dead.close()
    with serving(Home(home), log, Desk().table()):
        peer = Peer(Home(home).bus)
        assert peer.call("echo", value=1) == 1
        peer.close()


def test_an_unusable_folder_leaves_no_descriptor_behind(tmp_path):
    with selectors.DefaultSelector() as selector:
        bus = Bus(selector, Home(tmp_path / "nowhere"), MemoryLog(), {})
        with pytest.raises(OSError):
            bus.open()
        bus.close()


def test_every_frame_is_one_line(served, peer):
    peer.call("subscribe", parentSessionId="p")
    served.publish("p", text="a\nb\u2028c")
    assert peer.receive()["params"]["text"] == "a\nb\u2028c"
    assert lines.MAX_LINE == MIB


def test_served_is_a_helper_that_reports_errors(served: Served):
    with pytest.raises(ZeroDivisionError):
        served.run(lambda: 1 / 0)
    assert eventually(lambda: True)
