"""The methods of the socket, over a real socket and a real database."""

from __future__ import annotations

import base64
import os
import signal
from types import SimpleNamespace

import pytest

from backburner.ipc.bus import waiters
from backburner.ipc.bus.handlers import Handlers, ServerHooks
from backburner.ipc.bus.protocol import PARAMETERS, RESULTS
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from backburner.ipc.model.claim import Settlement, Slot
from backburner.ipc.model.launch import LAUNCH, LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.processes import PUBLICATION_TIMEOUT
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.values import PAGE_BYTES
from backburner.ipc.text.pieces import decode_piece
from tests.helpers.bus import Peer, serving

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"


class QueueServer:
    """A queue that is served on the socket. Its tasks are run by hand."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.database = SqliteStore(home, "normal")
        self.queue = Queue(self.database, DEFAULT_BACKGROUND_CONFIG)
        self.log = self.database.events
        self.now = 0.0
        self.wakes = 0
        self.flushed: list = []
        hooks = ServerHooks(self.wake, self.flushed.append, lambda: {"home": str(home.folder)})
        self.handlers = Handlers(self.queue, home, hooks, clock=lambda: self.now)
        self.owner = self.database.hosts.register("worker", Identity.mine())
        self._published = 0

    def wake(self) -> None:
        self.wakes += 1

    def launch(self, **fields) -> str:
        return self.queue.launch(LaunchInput(command=("true",), cwd="/", **fields)).id

    def run(self, id: str) -> SimpleNamespace:
        claimed = self.queue.claim(Slot("command", 0), self.owner)
        assert claimed is not None
        assert claimed.id == id
        return SimpleNamespace(number=claimed.number, claim=claimed.claim)

    def end(self, running, status=TaskStatus.COMPLETED, **fields) -> None:
        self.queue.settle(Settlement(number=running.number, claim=running.claim, status=status, **fields))

    def publish(self) -> None:
        """Publish new events, as the flusher does when it is woken."""
        self.served.run(self._publish)

    def _publish(self) -> None:
        lines = self.log.read(None, self._published, 1000)
        self.served.bus.publish(lines)
        self.handlers.observe(lines)
        self._published = lines[-1].seq if lines else self._published


@pytest.fixture
def server(home):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # would wake the worker
    server = QueueServer(Home(home).prepare())
    with serving(server.home, server.log, server.handlers.methods()) as served:
        server.served = served
        yield server
    server.database.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def peer(server):
    peer = Peer(server.home.bus)
    yield peer
    peer.close()


def test_launch_runs_in_the_folder_that_holds_the_home(server, peer):
    task = peer.call("launch", command=["true"], parentSessionId="p")
    assert (task["status"], task["command"], task["existing"]) == ("pending", ["true"], False)
    assert task["cwd"] == str(server.home.folder.parent)
    assert server.wakes == 1
    assert peer.call("get", id=task["id"])["id"] == task["id"]
    assert peer.call("launch", command=["true"], cwd="/")["cwd"] == "/"


def test_repeated_launch_returns_the_existing_task(peer):
    launch = {"command": ["true"], "id": UNKNOWN}
    first, again = peer.call("launch", **launch), peer.call("launch", **launch)
    assert (first["existing"], again["existing"]) == (False, True)
    assert first["id"] == again["id"] == UNKNOWN


def test_launch_many_is_all_or_none(server, peer):
    ids = peer.call("launchMany", tasks=[{"command": ["true"]}] * 3)["ids"]
    assert server.queue.unfinished() == ids
    error = peer.call("launchMany", tasks=[{"command": ["true"]}, {"command": ["true"], "priority": 5000}])
    assert (error["code"], error["data"]["field"]) == (-32602, "tasks[1].priority")
    assert peer.call("launchMany", tasks=[{"command": ["x"]}, {"agent": "unknown", "prompt": "x"}])["code"] == -32602
    assert server.queue.unfinished() == ids
    assert peer.call("launchMany", tasks=[]) == {"ids": []}


def test_launch_validates_each_field_once(peer, checked_priorities):
    peer.call("launch", command=["true"], priority=7)
    assert checked_priorities == [7]


def test_launch_many_validates_each_field_of_each_task_once(peer, checked_priorities):
    peer.call("launchMany", tasks=[{"command": ["true"], "priority": number} for number in range(100)])
    assert checked_priorities == list(range(100))


def test_all_mistakes_of_a_launch_are_reported_at_once(peer):
    error = peer.call("launchMany", tasks=[{"command": "x", "priority": True}, {"prompt": "x", "unknown": 1}])
    assert error["data"] == {"field": "tasks[0].command"}
    assert error["message"].split("; ") == [
        'tasks[0].command: expected a list of arguments, such as ["make", "test"], or ["sh", "-c", LINE] for a line of'
        " shell, got 'x'",
        "tasks[0].priority: expected a whole number from -1000 to 1000, got true",
        f"tasks[1].unknown: expected a known name: {', '.join(LAUNCH.fields)}",
    ]


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("launch", {"command": "true"}, "command"),
        ("launch", {"command": ["true"], "priority": True}, "priority"),
        ("launch", {"command": ["true"], "unknown": 1}, "unknown"),
        ("launch", {"command": ["a\0b"]}, "command[0]"),
        ("launchMany", {}, "tasks"),
        ("get", {}, "id"),
        ("get", {"id": 7}, "id"),
        ("list", {"limit": 0}, "limit"),
        ("list", {"limit": 1001}, "limit"),
        ("list", {"status": "done"}, "status"),
        ("list", {"status": ["running", "done"]}, "status[1]"),
        ("list", {"since": "yesterday"}, "since"),
        ("list", {"cursor": "x"}, "cursor"),
        ("wait", {"ids": "x"}, "ids"),
        ("wait", {"any": 1}, "any"),
        ("wait", {"timeoutMs": -1}, "timeoutMs"),
        ("fail", {"id": UNKNOWN}, "error"),
        ("progress", {"id": UNKNOWN, "text": 1}, "text"),
        ("output", {"id": UNKNOWN, "stream": "stdin"}, "stream"),
        ("output", {"id": UNKNOWN, "offset": -1}, "offset"),
        ("flush", {"parentSessionId": 1}, "parentSessionId"),
        ("ping", {"x": 1}, "x"),
    ],
)
def test_error_names_the_wrong_parameter(peer, method, params, field):
    error = peer.call(method, **params)
    assert (error["code"], error["data"]["field"]) == (-32602, field)


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "complete", "output"])
def test_unknown_task_is_not_found(peer, method):
    assert peer.call(method, id=UNKNOWN)["code"] == -32001


def test_list_returns_pages_newest_first(server, peer):
    ids = [server.launch(parent_session_id="p") for _ in range(5)]
    first = peer.call("list", limit=3)
    second = peer.call("list", limit=3, cursor=first["next"])
    assert [task["id"] for task in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["next"] is None
    assert "prompt" not in first["tasks"][0]
    assert peer.call("list", status="running", parentSessionId="p")["tasks"] == []
    assert len(peer.call("list", status=None, limit=None)["tasks"]) == 5
    assert len(peer.call("list", status=["running", "pending"])["tasks"]) == 5
    assert len(peer.call("list", concurrencyKey="command", agent="command", text="TRUE")["tasks"]) == 5
    assert peer.call("list", since="9999-12-31T23:59:59Z")["tasks"] == []


def test_list_limits_the_size_of_a_page(server, peer):
    ids = [server.launch(metadata={"x": "y" * (PAGE_BYTES // 2)}) for _ in range(5)]
    pages = [peer.call("list", limit=1000)]
    while pages[-1]["next"] is not None:
        pages.append(peer.call("list", limit=1000, cursor=pages[-1]["next"]))
    assert [task["id"] for page in pages for task in page["tasks"]] == ids[::-1]
    assert [len(page["tasks"]) for page in pages] == [2, 2, 1]


def test_tasks_that_calls_wait_for_are_limited(server, peer, monkeypatch):
    monkeypatch.setattr(waiters, "MAX_WAITED", 5)
    for _ in range(3):
        server.launch(parent_session_id="p")
    peer.send("wait", parentSessionId="p")
    assert peer.call("wait", parentSessionId="p")["code"] == -32004
    assert peer.call("wait", parentSessionId="p", timeoutMs=0)["timedOut"]


def test_cancel_of_a_pending_task_answers_at_once(server, peer):
    assert peer.call("cancel", id=server.launch())["status"] == "cancelled"


def test_cancel_answers_when_the_task_no_longer_runs(server, peer):
    id = server.launch()
    running = server.run(id)
    number = peer.send("cancel", id=id)
    assert peer.call("get", id=id)["stopping"] is True
    server.end(running, TaskStatus.CANCELLED)
    server.publish()
    answer = peer.receive()
    assert (answer["id"], answer["result"]["status"]) == (number, "cancelled")
    assert peer.call("cancel", id=id)["code"] == -32002


def test_verdict_from_outside_is_answered_at_once(server, peer):
    id = server.launch()
    running = server.run(id)
    assert peer.call("progress", id=id, text="half")["progress"] == "half"
    assert peer.call("complete", id=id, result="well")["stopping"] is True
    assert peer.call("fail", id=id, error="no")["code"] == -32002
    server.end(running)
    assert peer.call("get", id=id)["status"] == "completed"
    assert peer.call("retry", id=id)["code"] == -32002
    other = server.launch()
    peer.call("cancel", id=other)
    assert peer.call("retry", id=other)["status"] == "pending"


def test_wait_answers_when_all_tasks_have_ended(server, peer):
    ids = [server.launch() for _ in range(2)]
    number = peer.send("wait", ids=ids)
    server.end(server.run(ids[0]))
    server.publish()
    peer.call("ping")
    server.end(server.run(ids[1]), TaskStatus.ERROR, error="no", error_kind="failed")
    server.publish()
    answer = peer.receive()
    assert answer["id"] == number
    assert [task["status"] for task in answer["result"]["tasks"]] == ["completed", "error"]
    assert answer["result"]["timedOut"] is False
    assert peer.call("wait", ids=ids) == answer["result"]


def test_wait_for_any_answers_with_the_first_ended_task(server, peer):
    ids = [server.launch() for _ in range(2)]
    peer.send("wait", ids=ids, any=True)
    server.end(server.run(ids[0]))
    server.publish()
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == [ids[0]]


def test_wait_for_a_parent_ignores_later_tasks(server, peer):
    mine, _other = server.launch(parent_session_id="p"), server.launch(parent_session_id="q")
    peer.send("wait", parentSessionId="p")
    peer.call("ping")
    server.launch(parent_session_id="p")
    server.end(server.run(mine))
    server.publish()
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == [mine]
    assert peer.call("wait", parentSessionId="unknown") == {"tasks": [], "timedOut": False}


def test_wait_without_parameters_is_for_all_unfinished_tasks(server, peer):
    ids = [server.launch(), server.launch(parent_session_id="q")]
    peer.send("wait")
    peer.call("ping")
    for id in ids:
        server.end(server.run(id))
    server.publish()
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == ids
    assert peer.call("wait", ids=[]) == {"tasks": [], "timedOut": False}


def test_wait_answers_after_its_timeout(server, peer):
    ids = [server.launch() for _ in range(2)]
    assert peer.call("wait", ids=ids, timeoutMs=0) == {"tasks": [], "timedOut": True}
    peer.send("wait", ids=ids, timeoutMs=5000)
    peer.send("wait", ids=ids, timeoutMs=2500)
    peer.call("ping")
    assert server.served.run(server.handlers.due) == 2.5
    server.end(server.run(ids[0]))
    server.publish()
    server.now = 2.5
    server.served.run(server.handlers.answer_due)
    answer = peer.receive()["result"]
    assert ([task["id"] for task in answer["tasks"]], answer["timedOut"]) == ([ids[0]], True)
    assert server.served.run(server.handlers.due) == 2.5
    server.end(server.run(ids[1]))
    server.publish()
    assert peer.receive()["result"]["timedOut"] is False
    assert server.served.run(server.handlers.due) is None


def test_waiting_calls_of_disconnected_clients_are_forgotten(server):
    id = server.launch()
    for _ in range(200):
        peer = Peer(server.home.bus)
        peer.send("wait", ids=[id], timeoutMs=10**12)
        peer.call("ping")
        peer.close()
    server.served.until(lambda: server.served.bus.connections == 0)
    waiting = server.handlers._waiters
    assert (waiting._by_task, waiting._with_deadline) == ({}, 0)
    assert len(waiting._deadlines) <= 64


def test_wait_for_an_unknown_task_is_an_error(server, peer):
    assert peer.call("wait", ids=[server.launch(), UNKNOWN])["code"] == -32001


def test_output_is_never_cut_within_a_character(server, peer):
    id = server.launch()
    text = "äöü€😀" * 3
    server.end(server.run(id), outputs=(("stdout", text.encode() + b"\xff"),))
    got, offset, eof = "", 0, False
    while not eof:
        piece = peer.call("output", id=id, stream="stdout", offset=offset, limit=1)
        assert piece["offset"] > offset
        got, offset, eof = got + piece["data"], piece["offset"], piece["eof"]
    assert got == text + "\ufffd"
    raw = peer.call("output", id=id, encoding="base64")
    assert base64.b64decode(raw["data"]) == text.encode() + b"\xff"
    assert peer.call("output", id=id, stream="stderr")["data"] == ""


@pytest.mark.parametrize(
    ("data", "final", "expected"),
    [
        ("ä".encode(), False, ("ä", 0)),
        ("aä".encode()[:2], False, ("a", 1)),
        ("aä".encode()[:2], True, ("a\ufffd", 0)),
        ("😀".encode()[:3], False, ("", 3)),
        (b"\xff\xffa", False, ("\ufffd\ufffda", 0)),
        (b"", False, ("", 0)),
    ],
)
def test_incomplete_character_is_left_for_the_next_piece(data, final, expected):
    assert decode_piece(data, final) == expected


def test_flush_status_and_ping(server, peer):
    assert peer.call("flush") == {}
    assert peer.call("flush", parentSessionId="p") == {}
    assert server.flushed == [None, "p"]
    assert peer.call("status") == {"home": str(server.home.folder)}
    pong = peer.call("ping")
    assert (pong["protocol"], pong["home"], pong["pid"]) == (1, str(server.home.folder), os.getpid())
    assert pong["version"]


def test_every_method_has_published_parameters(server):
    assert set(PARAMETERS) == set(server.served.bus.methods)
    assert all(record.schema()["type"] == "object" for record in PARAMETERS.values())
    assert all(server.served.bus.methods[name].params is record for name, record in PARAMETERS.items())


def test_adopt_moves_tasks_and_notifications(server, peer):
    server.end(server.run(server.launch(parent_session_id="P")))
    assert peer.call("adopt", **{"from": "P", "to": "Q"}) == {"tasks": 1, "notices": 1}
    assert server.wakes == 1


def test_get_answers_several_ids_in_order_with_null_for_unknown_ones(server, peer):
    first, second = server.launch(), server.launch()
    tasks = peer.call("get", ids=[second, UNKNOWN, first, second])["tasks"]
    assert [task and task["id"] for task in tasks] == [second, None, first, second]
    for params in ({}, {"id": first, "ids": [second]}):
        assert peer.call("get", **params)["data"]["field"] == "id"


def test_edit_changes_a_pending_task(server, peer):
    id = server.launch()
    task = peer.call("edit", id=id, priority=4, tags=["a"], description="x", timeoutMs=None)
    assert (task["priority"], task["tags"], task["description"]) == (4, ["a"], "x")
    server.run(id)
    assert peer.call("edit", id=id, priority=5)["code"] == -32002
    assert peer.call("edit", id=UNKNOWN, priority=5)["code"] == -32001
    assert peer.call("edit", id=id)["code"] == -32602
    assert peer.call("edit", id=id, priority="high")["data"]["field"] == "priority"


def test_remove_deletes_ended_tasks(server, peer):
    id, running = server.launch(), server.launch(priority=1)
    server.run(running)
    assert peer.call("remove", ids=[running])["code"] == -32002
    peer.call("cancel", id=id)
    assert peer.call("remove", ids=[id, id]) == {"ids": [id]}
    assert peer.call("get", id=id)["code"] == -32001


def test_attempts_of_a_task_are_listed(server, peer):
    id = server.launch()
    server.end(server.run(id), TaskStatus.ERROR, error="no", error_kind="exit", exit_code=2)
    (attempt,) = peer.call("attempts", id=id)["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["exitCode"]) == (1, "error", 2)
    assert RESULTS["attempts"].mistakes({"attempts": [attempt]}) == []


def test_limit_and_pause_answer_with_the_row_of_the_key(server, peer):
    row = {"key": "k", "limit": 3, "running": 0, "pending": 0, "paused": False}
    assert peer.call("limit", key="k") == row
    assert peer.call("limit", key="k", limit=2) == row | {"limit": 2}
    assert peer.call("limit", key="k") == row | {"limit": 2}
    assert peer.call("pause", key="k") == row | {"limit": 2, "paused": True}
    assert peer.call("resume", key="k") == row | {"limit": 2}
    assert peer.call("limit", key="k", limit="unlimited") == row | {"limit": 0}
    assert peer.call("limit", key="k", limit="default") == row
    for limit in (-1, 1.5, "many", True):
        assert peer.call("limit", key="k", limit=limit)["data"]["field"] == "limit"


def test_limit_that_times_out_does_not_slow_workers_down(server, peer):
    server.queue.publication_timeout = 0.0
    for key in ("k", "during", "afterwards"):
        peer.call("limit", key=key, limit=1)
        server.launch(concurrency_key=key)
        server.launch(concurrency_key=key)
    assert len(server.queue.take(Slot("k", 0), server.owner, 2)) == 2  # one runs, the worker holds the other one
    peer.send("limit", key="k", limit=5)
    server.served.until(lambda: server.handlers.due() is not None)
    assert len(server.queue.take(Slot("during", 0), server.owner, 2)) == 1
    server.now += PUBLICATION_TIMEOUT
    server.served.run(server.handlers.answer_due)
    assert peer.receive()["error"]["code"] == -32004
    assert len(server.queue.take(Slot("afterwards", 0), server.owner, 2)) == 2
