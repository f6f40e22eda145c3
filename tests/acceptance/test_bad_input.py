"""Bad input is refused with what is wrong and where. Nothing is lost, and other clients are not affected."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.lines import MAX_LINE
from backburner.ipc.model.query import Filter
from tests.acceptance.conftest import BRISK
from tests.helpers.bus import Peer
from tests.helpers.instance import Instance, as_toml
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def bystander(shared: Instance) -> Iterator[None]:
    """Subscribe to a session before all tests of this file. It must receive all events of its task after them."""
    peer = Peer(shared.home.bus)
    assert peer.call("ping")["home"] == str(shared.folder)
    shared.result("true")
    seq = shared.store.events.last_seq()
    peer.call("subscribe", parentSessionId="bystander", after=seq)
    yield
    assert shared.result("echo", "well", parentSessionId="bystander").result == "well"
    received = [peer.receive()["params"] for _ in range(3)]
    assert [one["type"].rpartition("_")[2] for one in received] == ["started", "completed", "batch"]
    assert all(one["seq"] > seq for one in received)
    peer.close()


@pytest.fixture
def unharmed(shared: Instance, bystander: None) -> Iterator[Instance]:
    """Provide the shared instance. Check afterwards that it has no new task and the same roles, which respond."""
    before, known = roles(shared), set(tasks(shared))
    yield shared
    assert roles(shared) == before
    assert set(tasks(shared)) == known
    with shared.client() as client:
        assert client.call("ping")["home"] == str(shared.folder)


def roles(instance: Instance) -> list[int]:
    return [instance.pid_of(role) for role in ("supervisor", "flusher", "forkServer")]


def tasks(instance: Instance) -> list[str]:
    return [task.id for task in instance.queue.list(Filter(limit=None)).tasks]


@pytest.fixture
def peer(unharmed: Instance) -> Iterator[Peer]:
    peer = Peer(unharmed.home.bus)
    yield peer
    peer.close()


# invalid launches

#: Launch parameters, and the field that the refusal must name.
INVALID_LAUNCHES = [
    ({"command": ["true"], "colour": "red"}, "colour"),
    ({"command": "true"}, "command"),
    ({"command": []}, "command"),
    ({"command": ["true", 1]}, "command[1]"),
    ({"command": ["true"], "priority": "high"}, "priority"),
    ({"command": ["true"], "priority": True}, "priority"),
    ({"command": ["true"], "priority": 1001}, "priority"),
    ({"command": ["true"], "priority": 1.5}, "priority"),
    ({"command": ["true"], "delayMs": -1}, "delayMs"),
    ({"command": ["true"], "timeoutMs": -5}, "timeoutMs"),
    ({"command": ["true"], "timeoutMs": 10**30}, "timeoutMs"),
    ({"command": ["true"], "retries": -1}, "retries"),
    ({"command": ["true"], "env": {"A": 1}}, "env"),
    ({"command": ["true"], "env": ["A=1"]}, "env"),
    ({"command": ["true"], "metadata": []}, "metadata"),
    ({"command": ["true"], "description": "a\0b"}, "description"),
    ({"command": ["tr\0ue"]}, "command[0]"),
    ({"command": ["true"], "description": "\ud800"}, "description"),
    ({"command": ["true"], "parentSessionId": ""}, "parentSessionId"),
    ({"command": ["true"], "id": "bg-1"}, "id"),
    ({"command": ["true"], "call": "a:b"}, "command"),
    ({"command": ["true"], "stdin": "a", "stdinFile": "b"}, "stdin"),
    ({"command": ["true"], "stdinFile": "/no/such/file"}, "stdinFile"),
    ({"call": "no colon"}, "call"),
    ({"call": "a:b", "args": {}}, "args"),
    ({"call": "a:b", "kwargs": []}, "kwargs"),
    ({"command": ["true"], "after": "bg-1"}, "after"),
    ({"command": ["true"], "cwd": "/no/such/folder"}, "cwd"),
    ({"command": ["true"], "cwd": "/etc/passwd"}, "cwd"),
    ({"prompt": "hello"}, "agent"),
    ({"prompt": "hello", "agent": "nobody"}, "agent"),
    ({"agent": "python"}, "call"),
    ({"agent": "command"}, "command"),
    ({}, "prompt"),
]


@pytest.mark.parametrize(
    ("params", "field"), INVALID_LAUNCHES, ids=lambda value: str(value)[:50].encode("ascii", "replace").decode()
)
def test_invalid_launch_is_refused_and_its_field_is_named(peer: Peer, params: dict[str, Any], field: str):
    error = peer.call("launch", **params)
    assert error["code"] in (-32602, -32001), error
    assert error["data"]["field"].startswith(field.partition("[")[0]), error
    assert field in error["message"]


def test_launch_many_accepts_none_if_one_is_invalid(peer: Peer):
    valid, invalid = {"command": ["true"]}, {"command": ["true"], "retries": -1}
    error = peer.call("launchMany", tasks=[valid, valid, invalid])
    assert "tasks[2].retries" in error["message"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("launch", "--priority", "high", "--", "true"), "--priority"),
        (("launch", "--priority", "2000", "--", "true"), "--priority"),
        (("launch", "--delay", "-3s", "--", "true"), "--delay"),
        (("launch", "--timeout", "soon", "--", "true"), "--timeout"),
        (("launch", "--timeout", "-1", "--", "true"), "--timeout"),
        (("launch", "--retries", "-1", "--", "true"), "--retries"),
        (("launch", "--metadata", "{", "--", "true"), "--metadata"),
        (("launch", "--args", "1", "--call", "a:b"), "args"),
        (("launch", "--colour", "red", "--", "true"), "--colour"),
        (("launch", "--agent", "nobody", "hello"), "nobody"),
        (("launch", "two", "words"), "got 2: quote it"),
        (("launch", "--"), "command"),
        (("launch", "--stdin", "/no/such/file", "--", "true"), "/no/such/file"),
        (("launch", "--from-file", "/no/such/file"), "/no/such/file"),
        (("launch", "--env", "=x", "--", "true"), "env"),
        (("wait", "--timeout", "-1"), "--timeout"),
        (("list", "--limit", "-1"), "--limit"),
        (("list", "--status", "asleep"), "--status"),
        (("limit", "opus", "-1"), "0 or more"),
        (("limit", "opus", "many"), "many"),
        (("listen", "--parent", "p", "--after", "-1"), "--after"),
        (("nonsense",), "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_invalid_command_line_is_refused_with_the_mistake(unharmed: Instance, words: tuple[str, ...], what: str):
    done = unharmed.run_here(*words)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert what in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"command": ["true"], "retries": -1}', "retries"),
        (b'{"command": ["true"], "colour": 1}', "colour"),
        (b'{"command": ["true"]', "JSON"),
        (b'{"command": ["tr\xff"]}', "JSON"),
        (b"[1]", "object"),
        (b'{"command": ["true"], "agent": "nobody"}', "nobody"),
        (b'{"metadata": {"a": NaN}, "command": ["true"]}', "NaN"),
        (b'{"metadata": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested"),
        (b'{"command": ["' + b"x" * MAX_LINE + b'"]}', "1 MiB"),
    ],
    ids=["range", "unknown", "half", "no UTF-8", "array", "agent", "NaN", "depth", "size"],
)
def test_invalid_line_of_a_task_file_is_named_and_no_line_is_accepted(
    unharmed: Instance, tmp_path: Path, line: bytes, what: str
):
    file = tmp_path / "tasks.ndjson"
    file.write_bytes(b'{"command": ["true"]}\n\n' + line + b'\n{"command": ["true"]}\n')
    done = unharmed.run_here("launch", "--from-file", str(file))
    assert done.returncode == 2, done
    assert "line 3" in done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr


# tasks that are accepted, but cannot be started


@pytest.mark.parametrize(
    ("fields", "code", "what"),
    [
        ({"command": ["no-such-program"]}, 127, "no-such-program"),
        ({"command": ["/no/such/program"]}, 127, "/no/such/program"),
        ({"command": ["/etc/passwd"]}, 126, "/etc/passwd"),
        ({"command": ["/"]}, 126, "/"),
    ],
)
def test_program_that_cannot_be_started_is_a_spawn_error(shared: Instance, fields: dict, code: int, what: str):
    task = shared.result(**fields)
    assert (task.status, task.error_kind, task.exit_code) == ("error", "spawn", code)
    assert what in (task.error or "")
    assert shared.result("true").status == "completed"


@pytest.mark.parametrize("fields", [{"command": ["true"]}, {"call": "time:time"}], ids=["command", "call"])
def test_task_fails_if_its_folder_was_removed_before_it_started(shared: Instance, tmp_path: Path, fields: dict):
    folder = tmp_path / "folder"
    folder.mkdir()
    id = shared.launch(**fields, cwd=str(folder), delayMs=100)
    folder.rmdir()
    task = shared.until(id)
    assert (task.status, task.error_kind, task.exit_code) == ("error", "spawn", 1)
    assert str(folder) in (task.error or "")


def test_executable_file_of_random_bytes_is_a_spawn_error(shared: Instance, tmp_path: Path):
    (tmp_path / "rubbish").write_bytes(bytes(range(256)))
    (tmp_path / "rubbish").chmod(0o700)
    task = shared.result(str(tmp_path / "rubbish"))
    assert (task.status, task.error_kind, task.exit_code) == ("error", "spawn", 126)


@pytest.mark.parametrize("timeout", [None, 60_000], ids=["in a series", "alone"])
def test_script_without_an_interpreter_is_run_by_the_shell(shared: Instance, tmp_path: Path, timeout: int | None):
    fields = {"cwd": str(tmp_path), "stdin": "x" if timeout else None}
    for name, text in (("plain", "echo $1; exit 3\n"), ("windows", "#!/bin/sh\r\n"), ("missing", "#!/no/such x\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    plain = shared.result("./plain", "said", **fields)
    assert (plain.exit_code, plain.error) == (3, "exit code 3: said")
    for name, interpreter in (("windows", "/bin/sh\\r"), ("missing", "/no/such")):
        task = shared.result(f"./{name}", **fields)
        assert (task.error_kind, task.exit_code) == ("spawn", 127)
        assert f"its interpreter '{interpreter}' does not exist" in (task.error or "")
    found = shared.result("plain", "said", env={"PATH": str(tmp_path)}, **fields)
    assert found.exit_code == 3


# sizes


def test_a_launch_over_a_mebibyte_is_refused_on_the_socket(peer: Peer):
    peer.send("launch", command=["true"], description="x" * MAX_LINE)
    error = peer.receive()["error"]
    assert error["code"] == -32600
    assert str(MAX_LINE) in error["message"]
    assert peer.receive() == {}


def test_launch_whose_stored_json_exceeds_the_limit_is_refused(peer: Peer):
    numbers = "[" + ",".join(["1e15"] * 80_000) + "]"
    request = {"jsonrpc": "2.0", "id": 1, "method": "launch", "params": {"command": ["true"], "metadata": {"a": "?"}}}
    peer.send_bytes(json.dumps(request).replace('"?"', numbers).encode() + b"\n")
    error = peer.receive()["error"]
    assert (error["code"], "1 MiB" in error["message"]) == (-32602, True)


def test_a_launch_over_a_mebibyte_is_refused_on_stdin(unharmed: Instance):
    done = unharmed.run_here("launch", "--agent", "external", "-", stdin="x" * (MAX_LINE + 1))
    assert done.returncode == 2
    assert "1 MiB" in done.stderr


def test_prompt_of_900_kib_is_accepted(shared: Instance):
    prompt = "x" * 900 * 1024
    id = shared.check("launch", "--agent", "external", "-", stdin=prompt).strip()
    assert shared.task(id).prompt == prompt
    peer = Peer(shared.home.bus)
    task = peer.call("launch", agent="external", prompt=prompt)
    assert task["prompt"] == prompt
    for one in (id, task["id"]):
        shared.until(one, "running")
        peer.call("complete", id=one)
    peer.close()


# invalid requests on the socket


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"rubbish", -32700),
        (b"{", -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]', -32600),
        (b'"text"', -32600),
        (b"{}", -32600),
        (b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', -32600),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "launch", "params": [1]}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "no_such_method"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "__class__"}', -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": 1}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "get", "params": {}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "get", "params": {"id": "bg-nobody"}}', -32001),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "wait", "params": {"timeoutMs": -1}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "list", "params": {"limit": 0}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "list", "params": {"cursor": "x"}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ack", "params": {"parentSessionId": "p", "seq": 1e300}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"parentSessionId": 3}}', -32602),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"a": "\xff\xfe"}}', -32700),
        (b"\x00\x01\x02", -32700),
        (b"[" * 100_000, -32700),
    ],
    ids=lambda value: value[:90].decode("ascii", "replace") if isinstance(value, bytes) else str(value),
)
def test_invalid_line_on_the_socket_is_answered_and_the_connection_stays(peer: Peer, line: bytes, code: int):
    peer.send_bytes(line + b"\n")
    assert peer.receive()["error"]["code"] == code
    assert peer.call("ping")["protocol"] == 1


def test_half_a_line_waits_for_its_end(peer: Peer, unharmed: Instance):
    peer.send_bytes(b'{"jsonrpc": "2.0", "id": 9, "method": "pi')
    other = Peer(unharmed.home.bus)
    assert other.call("ping")["protocol"] == 1
    other.close()
    peer.send_bytes(b'ng"}\n')
    assert peer.receive()["id"] == 9


def test_half_a_line_before_a_disconnect_is_ignored(unharmed: Instance):
    peer = Peer(unharmed.home.bus)
    peer.send_bytes(b'{"jsonrpc": "2.0", "id": 1, "method": "launch", "params": {"command": ["true"]}}')
    peer.close()


def test_two_mebibytes_without_a_newline_are_refused_and_disconnected(peer: Peer):
    peer.send_bytes(b"x" * 2 * MAX_LINE)
    assert peer.receive()["error"]["code"] == -32600
    assert peer.receive() == {}


def test_each_of_200_invalid_lines_is_answered(peer: Peer):
    peer.send_bytes(b"rubbish\n" * 200)
    assert [peer.receive()["error"]["code"] for _ in range(200)] == [-32700] * 200


# names


def test_unknown_id_exits_with_3(unharmed: Instance):
    for words in (("show", "ffffffff"), ("cancel", "ffffffff"), ("output", "bg-ffffffff"), ("wait", "ffffffff")):
        done = unharmed.run_here(*words)
        assert done.returncode == 3, done
        assert "ffffffff" in done.stderr
    done = unharmed.run_here("launch", "--after", "ffffffff", "--", "true")
    assert done.returncode == 3
    assert "ffffffff" in done.stderr


def test_ambiguous_id_exits_with_2(shared: Instance):
    ids = [f"bg-abcdef{number:02}-8b86-4d01-b42d-00c04fc964ff" for number in range(2)]
    for id in ids:
        shared.launch("true", id=id)
        shared.until(id)
    for words in (("show", "abcdef"), ("cancel", "abcdef"), ("launch", "--after", "abcdef", "--", "true")):
        done = shared.run_here(*words)
        assert done.returncode == 2
        assert "abcdef" in done.stderr
    assert json.loads(shared.check("show", "--json", "abcdef01"))["id"] == ids[1]


def test_launch_with_the_id_of_a_different_task_is_refused(shared: Instance):
    peer = Peer(shared.home.bus)
    id = "bg-6f9619ff-8b86-4d01-b42d-00c04fc964fe"
    assert peer.call("launch", id=id, command=["true"])["id"] == id
    assert peer.call("launch", id=id, command=["false"])["data"]["field"] == "id"
    assert shared.until(id).status == "completed"
    peer.close()


def test_second_up_starts_nothing_and_names_the_running_supervisor(unharmed: Instance):
    for words, code in ((("up",), 100), (("up", "--detach"), 0)):
        done = unharmed.run(*words)
        assert done.returncode == code
        assert str(unharmed.pid_of("supervisor")) in done.stderr


# files

BROKEN = [
    ("max_workers = \n", "config.toml:1"),
    ("max_workers = 3\nmax_workers = 4\n", "config.toml:2"),
    ("max_workers = -1\n", "max_workers"),
    ("max_workers = 'many'\n", "max_workers"),
    ("max_worker = 3\n", "max_worker"),
    ("kill_grace_s = -1\n", "kill_grace_s"),
    ("stale_action = 'shrug'\n", "stale_action"),
    ("[model_concurrency]\nopus = -1\n", "model_concurrency.opus"),
    ("[agents.x]\ncommand = 'ls'\n", "agents.x.command"),
    ("[agents.x]\ncommand = []\n", "agents.x.command"),
    ("[agents.x]\ncommand = ['ls']\nstdin = '{promt}'\n", "promt"),
    ("[agents.x]\ncommand = ['ls']\nresult = 'xml:a'\n", "agents.x.result"),
    ("pass_env = 'HOME'\n", "pass_env"),
    ("\x00", "config.toml"),
]


@pytest.mark.parametrize(("text", "what"), BROKEN)
def test_invalid_configuration_is_reported_and_not_applied(unharmed: Instance, text: str, what: str):
    file = unharmed.folder / "config.toml"
    file.write_text(text)
    try:
        for words in (("config", "check"), ("reload",), ("launch", "--", "true")):
            done = unharmed.run_here(*words)
            printed = done.stdout + done.stderr
            assert done.returncode == 100, done
            assert what in printed
            assert "config.toml" in printed
            assert "Traceback" not in done.stderr
        assert unharmed.run_here("list").returncode == 0
        assert unharmed.run_here("status").returncode == 0
    finally:
        file.unlink()


def test_config_check_names_every_mistake_in_every_file(instance: Instance, tmp_path: Path):
    (instance.folder / "config.toml").write_text("max_workers = -1\nkill_grace_s = 'x'\ncolour = 1\n")
    (tmp_path / "backburner.toml").write_text("retention_days = -1\n")
    done = instance.run("config", "check")
    assert done.returncode == 100
    printed = done.stdout + done.stderr
    for what in ("max_workers", "kill_grace_s", "colour", "retention_days", "config.toml", "backburner.toml"):
        assert what in printed
    for words in (("up",), ("up", "--detach")):
        assert instance.run(*words).returncode == 100


def test_reload_of_an_invalid_file_keeps_the_applied_configuration(instance: Instance):
    (instance.folder / "config.toml").write_text("[model_concurrency]\nopus = 7\n")
    instance.up(**BRISK)
    (instance.folder / "config.toml").write_text("[model_concurrency]\nopus = -7\n")
    instance.home.wake("supervisor", "reload")
    eventually(lambda: "not applied" in instance.home.log.read_text())
    assert instance.key("opus")["limit"] == 7
    assert instance.result("true").status == "completed"


def test_a_home_on_a_path_of_200_characters_works(home: Path, no_strays: None, monkeypatch: pytest.MonkeyPatch):
    deep = home.parent / ("x" * 100) / ("y" * 100) / ".backburner"
    assert len(str(deep)) > 200
    monkeypatch.setenv("BACKBURNER_HOME", str(deep))
    with Instance(deep) as instance:
        instance.up(**BRISK)
        assert instance.check("run", "--", "echo", "hi") == "hi\n"
        assert len(instance.status()["socket"]) < 104
        instance.down()


@pytest.mark.parametrize("kind", ["file", "open", "dangling"])
def test_file_open_folder_or_dangling_link_is_refused_as_home(home: Path, kind: str):
    folder = home.parent / "other"
    if kind == "file":
        folder.write_text("")
    elif kind == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder.symlink_to(home.parent / "nowhere")
    for words in (("up",), ("up", "--detach"), ("launch", "--", "true")):
        done = Instance(folder).run(*words)
        assert done.returncode == 100, done
        assert str(folder) in done.stderr
        assert "Traceback" not in done.stderr


# another user


#: Runs a command as another user. All modules are imported first, because that user may be unable to read them.
SWITCH_USER = """
import email.parser, importlib.metadata, os, pkgutil, sys
root, uid, gid, *words = sys.argv[1:]
sys.path.append(root)
import backburner.ipc.store.sqlite.sql, backburner.supervisor.cli
for package in (backburner.ipc, backburner.supervisor.cli):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
for statement in os.listdir(backburner.ipc.store.sqlite.sql.__path__[0]):
    if statement.endswith(".sql"):
        backburner.ipc.store.sqlite.sql.statement(statement[:-4])
os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
sys.argv = ["backburner", *words]
sys.exit(backburner.supervisor.cli.main())
"""


def other_user() -> tuple[int, int]:
    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


def run_as_other_user(instance: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    user = [str(IMPORT_ROOT), *map(str, other_user())]
    command = [sys.executable, "-P", "-c", SWITCH_USER, *user, "--home", str(instance.folder), *words]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=50, check=False)


@as_root
def test_a_home_that_belongs_to_another_user_is_refused(live: Instance):
    """Not even root works in another user's home, because the files that it creates there would belong to root."""
    other = live.folder.parent / "other"
    other.mkdir(0o700)
    os.chown(other, *other_user())
    for words in (("up",), ("up", "--detach"), ("launch", "--", "true"), ("run", "--", "true")):
        done = Instance(other).run(*words)
        assert done.returncode == 100, (words, done)
        assert str(other) in done.stderr
        assert "belongs to another user" in done.stderr
    assert list(other.iterdir()) == []
    assert live.result("true").status == "completed"


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o755], ids=["closed", "readable"])
def test_commands_of_another_user_are_refused(live: Instance, mode: int):
    live.launch("true", delayMs=600_000)
    live.folder.parent.chmod(0o755)
    live.folder.chmod(mode)
    before = live.check("list", "--json")
    words = ("list", "status", "flush", "reload", "down")
    for command in (("launch", "--", "true"), ("cancel", "-"), *((word,) for word in words)):
        done = run_as_other_user(live, *command)
        assert done.returncode in (100, 111), (command, done)
        assert str(live.folder) in done.stderr
        assert "Traceback" not in done.stderr
    assert live.check("list", "--json") == before
    assert live.result("true").status == "completed"


@as_root
def test_another_user_may_not_connect_to_the_bus(live: Instance):
    live.folder.chmod(0o755)
    live.folder.parent.chmod(0o755)
    (live.folder / "bus.sock").chmod(0o666)
    uid, gid = other_user()
    script = (
        "import os, socket, sys\n"
        "bus = socket.socket(socket.AF_UNIX)\n"
        "os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))\n"
        "bus.connect(sys.argv[1])\n"
        "try:\n"
        """    bus.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "launch", "params": {"command": ["true"]}}\\n')\n"""
        "    print(bus.makefile().read())\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, live.home.bus, str(gid), str(uid)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "result" not in done.stdout, done
    assert json.loads(live.check("list", "--json")) == []
    assert live.result("true").status == "completed"


@as_root
def test_configuration_that_another_user_can_write_is_refused(instance: Instance):
    file = instance.folder / "config.toml"
    file.write_text(as_toml({"max_workers": 3}))
    os.chown(file, *other_user())
    for words in (("up",), ("config", "check"), ("launch", "--", "true")):
        done = instance.run(*words)
        assert done.returncode == 100, done
        assert "config.toml" in done.stdout + done.stderr
    os.chown(file, 0, 0)
    file.chmod(0o666)
    assert instance.run("up").returncode == 100


# files that are not a database


def test_file_that_is_not_a_database_is_refused_and_kept(instance: Instance):
    instance.launch("true")
    instance.close_store()
    rubbish = b"these bytes are not a database" * 1000
    for path in instance.folder.glob("backburner.db*"):
        path.unlink()
    instance.home.database.write_bytes(rubbish)
    instance.home.database.chmod(0o600)
    for words in (("up",), ("up", "--detach"), ("launch", "--", "true"), ("list",), ("status",)):
        done = instance.run(*words)
        assert done.returncode == 100, done
        assert str(instance.folder) in done.stderr
        assert "Traceback" not in done.stderr
    assert instance.home.database.read_bytes() == rubbish


def test_a_newer_database_is_refused_and_kept(instance: Instance):
    instance.launch("true")
    instance.close_store()
    with closing(sqlite3.connect(instance.home.database)) as connection:
        connection.execute("PRAGMA user_version = 999")
    for words in (("up",), ("list",), ("launch", "--", "true")):
        done = instance.run(*words)
        assert done.returncode == 100
        assert "999" in done.stderr


def test_killed_listener_does_not_affect_others(unharmed: Instance):
    command = program("--home", str(unharmed.folder), "listen", "--parent", "*", "--after", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
        finally:
            kill(process.pid)
