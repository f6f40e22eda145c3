"""What the bus can be asked for, over a real socket and a real database."""

from __future__ import annotations

import base64
import os
import signal
from types import SimpleNamespace

import pytest

from backburner.ipc.bus import waiters
from backburner.ipc.bus.handlers import Handlers, ServerHooks, _decode
from backburner.ipc.bus.protocol import PARAMETERS
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.model.claim import Settlement, Slot
from backburner.ipc.model.launch import LAUNCH, LaunchInput
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.queue import Queue
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.store.values import PAGE_BYTES
from tests.helpers.bus import Peer, serving

UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"


class World:
    """A home whose tasks are run by hand."""

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
        self.owner = self.database.hosts.register("worker")
        self._told = 0

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

    def tell(self) -> None:
        """What the flusher does when it is poked."""
        lines = self.log.read(None, self._told, 1000)
        self.served.bus.publish(lines)
        self.handlers.observe(lines)
        self._told = lines[-1].seq if lines else self._told


@pytest.fixture
def world(home):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # what wakes a worker, which this process plays
    world = World(Home(home).prepare())
    with serving(world.home, world.log, world.handlers.methods()) as served:
        world.served = served
        yield world
    world.database.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def peer(world):
    peer = Peer(world.home.bus)
    yield peer
    peer.close()


def test_launch_gives_the_task_in_the_folder_that_holds_the_home(world, peer):
    task = peer.call("launch", command=["true"], parentSessionId="p")
    assert (task["status"], task["command"], task["existing"]) == ("pending", ["true"], False)
    assert task["cwd"] == str(world.home.folder.parent)
    assert world.wakes == 1
    assert peer.call("get", id=task["id"])["id"] == task["id"]
    assert peer.call("launch", command=["true"], cwd="/")["cwd"] == "/"


def test_the_same_launch_again_gives_the_task_there_is(peer):
    launch = {"command": ["true"], "id": UNKNOWN}
    first, again = peer.call("launch", **launch), peer.call("launch", **launch)
    assert (first["existing"], again["existing"]) == (False, True)
    assert first["id"] == again["id"] == UNKNOWN


def test_launch_many_is_all_or_none(world, peer):
    ids = peer.call("launchMany", tasks=[{"command": ["true"]}] * 3)["ids"]
    assert world.queue.unfinished() == ids
    error = peer.call("launchMany", tasks=[{"command": ["true"]}, {"command": ["true"], "priority": 5000}])
    assert (error["code"], error["data"]["field"]) == (-32602, "tasks[1].priority")
    assert peer.call("launchMany", tasks=[{"command": ["x"]}, {"agent": "nobody", "prompt": "x"}])["code"] == -32602
    assert world.queue.unfinished() == ids
    assert peer.call("launchMany", tasks=[]) == {"ids": []}


@pytest.fixture
def checked_priorities(monkeypatch):
    """Return the values of `priority` that are validated from now on."""
    shape, values = LAUNCH.fields["priority"], []

    def mismatch(value):
        values.append(value)
        return type(shape).mismatch(shape, value)

    monkeypatch.setattr(shape, "mismatch", mismatch)
    return values


def test_launch_validates_each_field_once(peer, checked_priorities):
    peer.call("launch", command=["true"], priority=7)
    assert checked_priorities == [7]


def test_launch_many_validates_each_field_of_each_task_once(peer, checked_priorities):
    peer.call("launchMany", tasks=[{"command": ["true"], "priority": number} for number in range(100)])
    assert checked_priorities == list(range(100))


def test_all_mistakes_of_a_launch_are_reported_at_once(peer):
    error = peer.call("launchMany", tasks=[{"command": "x", "priority": True}, {"prompt": "x", "nonesuch": 1}])
    assert error["data"] == {"field": "tasks[0].command"}
    assert error["message"].split("; ") == [
        "tasks[0].command: expected a non-empty list, got 'x'",
        "tasks[0].priority: expected a whole number from -1000 to 1000, got true",
        f"tasks[1].nonesuch: expected a known name: {', '.join(LAUNCH.fields)}",
    ]


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("launch", {"command": "true"}, "command"),
        ("launch", {"command": ["true"], "priority": True}, "priority"),
        ("launch", {"command": ["true"], "nonesuch": 1}, "nonesuch"),
        ("launch", {"command": ["a\0b"]}, "command[0]"),
        ("launchMany", {}, "tasks"),
        ("get", {}, "id"),
        ("get", {"id": 7}, "id"),
        ("list", {"limit": 0}, "limit"),
        ("list", {"limit": 1001}, "limit"),
        ("list", {"status": "done"}, "status"),
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
def test_a_wrong_parameter_is_named(peer, method, params, field):
    error = peer.call(method, **params)
    assert (error["code"], error["data"]["field"]) == (-32602, field)


@pytest.mark.parametrize("method", ["get", "cancel", "retry", "complete", "output"])
def test_an_unknown_task_is_not_found(peer, method):
    assert peer.call(method, id=UNKNOWN)["code"] == -32001


def test_list_pages_newest_first_and_brief(world, peer):
    ids = [world.launch(parent_session_id="p") for _ in range(5)]
    first = peer.call("list", limit=3)
    second = peer.call("list", limit=3, cursor=first["next"])
    assert [task["id"] for task in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["next"] is None
    assert "prompt" not in first["tasks"][0]
    assert peer.call("list", status="running", parentSessionId="p")["tasks"] == []
    assert len(peer.call("list", status=None, limit=None)["tasks"]) == 5


def test_a_list_of_large_tasks_comes_in_pages_that_fit_into_memory(world, peer):
    ids = [world.launch(metadata={"x": "y" * (PAGE_BYTES // 2)}) for _ in range(5)]
    pages = [peer.call("list", limit=1000)]
    while pages[-1]["next"] is not None:
        pages.append(peer.call("list", limit=1000, cursor=pages[-1]["next"]))
    assert [task["id"] for page in pages for task in page["tasks"]] == ids[::-1]
    assert [len(page["tasks"]) for page in pages] == [2, 2, 1]


def test_calls_do_not_wait_for_more_tasks_than_there_is_room_for(world, peer, monkeypatch):
    monkeypatch.setattr(waiters, "MAX_WAITED", 5)
    for _ in range(3):
        world.launch(parent_session_id="p")
    peer.send("wait", parentSessionId="p")
    assert peer.call("wait", parentSessionId="p")["code"] == -32004
    assert peer.call("wait", parentSessionId="p", timeoutMs=0)["timedOut"]


def test_a_pending_task_is_cancelled_at_once(world, peer):
    assert peer.call("cancel", id=world.launch())["status"] == "cancelled"


def test_cancel_answers_when_the_task_does_not_run_any_more(world, peer):
    id = world.launch()
    running = world.run(id)
    number = peer.send("cancel", id=id)
    assert peer.call("get", id=id)["stopping"] is True
    world.end(running, TaskStatus.CANCELLED)
    world.served.run(world.tell)
    answer = peer.receive()
    assert (answer["id"], answer["result"]["status"]) == (number, "cancelled")
    assert peer.call("cancel", id=id)["code"] == -32002


def test_a_verdict_from_outside_is_answered_at_once(world, peer):
    id = world.launch()
    running = world.run(id)
    assert peer.call("progress", id=id, text="half")["progress"] == "half"
    assert peer.call("complete", id=id, result="well")["stopping"] is True
    assert peer.call("fail", id=id, error="no")["code"] == -32002
    world.end(running)
    assert peer.call("get", id=id)["status"] == "completed"
    assert peer.call("retry", id=id)["code"] == -32002
    other = world.launch()
    peer.call("cancel", id=other)
    assert peer.call("retry", id=other)["status"] == "pending"


def test_wait_answers_when_all_have_ended(world, peer):
    ids = [world.launch() for _ in range(2)]
    number = peer.send("wait", ids=ids)
    world.end(world.run(ids[0]))
    world.served.run(world.tell)
    peer.call("ping")
    world.end(world.run(ids[1]), TaskStatus.ERROR, error="no", error_kind="failed")
    world.served.run(world.tell)
    answer = peer.receive()
    assert answer["id"] == number
    assert [task["status"] for task in answer["result"]["tasks"]] == ["completed", "error"]
    assert answer["result"]["timedOut"] is False
    assert peer.call("wait", ids=ids) == answer["result"]


def test_wait_for_any_answers_with_the_first(world, peer):
    ids = [world.launch() for _ in range(2)]
    peer.send("wait", ids=ids, any=True)
    world.end(world.run(ids[0]))
    world.served.run(world.tell)
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == [ids[0]]


def test_wait_for_a_parent_is_for_its_tasks_of_that_moment(world, peer):
    mine, _other = world.launch(parent_session_id="p"), world.launch(parent_session_id="q")
    peer.send("wait", parentSessionId="p")
    peer.call("ping")
    world.launch(parent_session_id="p")
    world.end(world.run(mine))
    world.served.run(world.tell)
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == [mine]
    assert peer.call("wait", parentSessionId="nobody") == {"tasks": [], "timedOut": False}


def test_wait_for_nothing_named_is_for_all_that_is_unfinished(world, peer):
    ids = [world.launch(), world.launch(parent_session_id="q")]
    peer.send("wait")
    peer.call("ping")
    for id in ids:
        world.end(world.run(id))
    world.served.run(world.tell)
    assert [task["id"] for task in peer.receive()["result"]["tasks"]] == ids
    assert peer.call("wait", ids=[]) == {"tasks": [], "timedOut": False}


def test_wait_gives_up_in_time(world, peer):
    ids = [world.launch() for _ in range(2)]
    assert peer.call("wait", ids=ids, timeoutMs=0) == {"tasks": [], "timedOut": True}
    peer.send("wait", ids=ids, timeoutMs=5000)
    peer.send("wait", ids=ids, timeoutMs=2500)
    peer.call("ping")
    assert world.served.run(world.handlers.due) == 2.5
    world.end(world.run(ids[0]))
    world.served.run(world.tell)
    world.now = 2.5
    world.served.run(world.handlers.answer_due)
    answer = peer.receive()["result"]
    assert ([task["id"] for task in answer["tasks"]], answer["timedOut"]) == ([ids[0]], True)
    assert world.served.run(world.handlers.due) == 2.5
    world.end(world.run(ids[1]))
    world.served.run(world.tell)
    assert peer.receive()["result"]["timedOut"] is False
    assert world.served.run(world.handlers.due) is None


def test_clients_that_come_wait_and_go_leave_nothing_behind(world):
    id = world.launch()
    for _ in range(200):
        peer = Peer(world.home.bus)
        peer.send("wait", ids=[id], timeoutMs=10**12)
        peer.call("ping")
        peer.close()
    world.served.until(lambda: world.served.bus.connections == 0)
    waiting = world.handlers._waiters
    assert (waiting._by_task, waiting._with_deadline) == ({}, 0)
    assert len(waiting._deadlines) <= 64


def test_wait_for_an_unknown_task_is_an_error(world, peer):
    assert peer.call("wait", ids=[world.launch(), UNKNOWN])["code"] == -32001


def test_output_comes_in_pieces_that_are_text(world, peer):
    id = world.launch()
    text = "äöü€😀" * 3
    world.end(world.run(id), outputs=(("stdout", text.encode() + b"\xff"),))
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
def test_half_a_character_waits_for_its_other_half(data, final, expected):
    assert _decode(data, final) == expected


def test_the_rest(world, peer):
    assert peer.call("flush") == {}
    assert peer.call("flush", parentSessionId="p") == {}
    assert world.flushed == [None, "p"]
    assert peer.call("status") == {"home": str(world.home.folder)}
    pong = peer.call("ping")
    assert (pong["protocol"], pong["home"], pong["pid"]) == (1, str(world.home.folder), os.getpid())
    assert pong["version"]


def test_every_method_says_what_it_takes(world):
    assert set(PARAMETERS) == set(world.served.bus.methods)
    assert all(record.schema()["type"] == "object" for record in PARAMETERS.values())
    assert all(world.served.bus.methods[name].params is record for name, record in PARAMETERS.items())


def test_adopt_tells_another_session_what_one_waits_for(world, peer):
    world.end(world.run(world.launch(parent_session_id="P")))
    assert peer.call("adopt", **{"from": "P", "to": "Q"}) == {"tasks": 1, "notices": 1}
    assert world.wakes == 1
