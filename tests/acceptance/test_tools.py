"""The tools for a model, over the Model Context Protocol."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.machine.distribution import INSTALL_COMMAND
from backburner.supervisor.integrations.mcp_tools import MAX_WAITING
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.processes import are_gone, kill
from tests.helpers.tools import Client, client
from tests.helpers.wait import eventually

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult

#: Clients that run at the same time.
CLIENTS = 6
#: The command of a task that ends when the test creates the file.
WAIT_FOR_FILE = ("sh", "-c", 'until [ -e "$0" ]; do sleep 0.05; done; echo done')


@pytest.fixture(scope="module")
def tools(shared: Instance) -> Iterator[Client]:
    """Start an MCP client that all tests of this file share; each call names its session."""
    with client(str(shared.folder), str(shared.folder.parent)) as found:
        found.initialize()
        yield found


@pytest.fixture
def me() -> str:
    """Return the name of a session that only this test uses."""
    return f"ses-{uuid.uuid4()}"


def launch(tools: Client, me: str, *argv: str, **more: object) -> str:
    """Launch a task for that session and return its ID."""
    found = tools.call("launch", command=list(argv), parentSessionId=me, concurrencyKey=me, **more)
    return found.answer["id"]


def test_server_lists_six_described_tools(tools):
    found = {tool["name"]: tool for tool in tools.request("tools/list")["tools"]}
    assert sorted(found) == ["cancel", "inbox", "launch", "list", "output", "wait"]
    assert all(len(tool["description"]) > 20 for tool in found.values())
    assert all(tool["inputSchema"]["type"] == "object" for tool in found.values())
    assert {"command", "prompt", "agent", "timeoutMs", "uniqueKey"} <= found["launch"]["inputSchema"][
        "properties"
    ].keys()
    assert {tuple(tool.get("outputSchema") or ()) for tool in found.values()} == {()}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_server_uses_the_protocol_version_of_the_client(shared, version):
    with client(str(shared.folder), str(shared.folder.parent)) as fresh:
        found = fresh.initialize(version)
        assert found["protocolVersion"] == version
        assert "<background-tasks>" in found["instructions"]
        assert found["capabilities"].keys() <= {"tools", "experimental"}
        assert fresh.call("list", parentSessionId=version).answer["tasks"] == []


def test_next_answer_ends_with_an_unread_notification_once(tools, shared, me, tmp_path):
    id = launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go"))
    (tmp_path / "go").touch()
    shared.until(id)
    assert f"- {id}" in tools.call("list", parentSessionId=me).notifications
    assert [tools.call(name, parentSessionId=me).notifications for name in ("list", "inbox", "wait")] == ["", "", ""]


def test_wait_returns_ended_tasks_and_their_notifications(tools, me, tmp_path):
    ids = [launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / name)) for name in ("one", "two")]
    (tmp_path / "one").touch()
    found = tools.call("wait", ids=ids, any=True, parentSessionId=me)
    assert [task["id"] for task in found.answer["tasks"]] == ids[:1]
    assert found.answer["tasks"][0]["result"] == "done"
    assert found.answer["timedOut"] is False
    assert f"- {ids[0]}" in found.notifications
    (tmp_path / "two").touch()
    found = tools.call("wait", parentSessionId=me)
    assert [task["id"] for task in found.answer["tasks"]] == ids[1:]
    assert "You have no unfinished tasks." in found.notifications


def test_wait_that_times_out_returns_the_ended_tasks(tools, me, tmp_path):
    id = launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go"))
    assert tools.call("wait", timeoutMs=10, parentSessionId=me).answer == {"tasks": [], "timedOut": True}
    (tmp_path / "go").touch()
    assert tools.call("wait", ids=[id[:12]], timeoutMs=10**9, parentSessionId=me).answer["timedOut"] is False


def test_cancelled_call_ends_the_wait_but_not_the_task(tools, shared, me, tmp_path):
    id = launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go"))
    call = tools.begin_call("wait", parentSessionId=me)
    tools.send({"method": "notifications/cancelled", "params": {"requestId": call, "reason": "enough"}})
    assert tools.call("list", parentSessionId=me).answer["tasks"][0]["status"] in ("pending", "running")
    (tmp_path / "go").touch()
    assert shared.until(id).result == "done"
    assert f"- {id}" in tools.call("inbox", parentSessionId=me).notifications


def test_other_tools_answer_while_many_waits_are_open(shared: Instance, me, tmp_path):
    with client(str(shared.folder), str(tmp_path)) as tools:
        tools.initialize()
        launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go"))
        calls = [tools.begin_call("wait", parentSessionId=me) for _ in range(MAX_WAITING + 8)]
        assert len(tools.call("list", parentSessionId=me).answer["tasks"]) == 1
        for call in calls:
            tools.send({"method": "notifications/cancelled", "params": {"requestId": call}})
        assert tools.call("wait", timeoutMs=10, parentSessionId=me).answer == {"tasks": [], "timedOut": True}
        tools.begin_call("wait", parentSessionId=me)
        assert len(tools.call("list", parentSessionId=me).answer["tasks"]) == 1
    # the server has exited although that wait was open


def test_cancel_returns_when_the_processes_have_ended(tools, shared, me):
    id = launch(tools, me, "sleep", "600")
    shared.pid(id)
    found = tools.call("cancel", id=id, parentSessionId=me)
    assert found.answer["status"] == "cancelled"
    assert "cancelled" in found.notifications
    assert "already ended" in tools.error("cancel", id=id, parentSessionId=me)


def test_output_is_read_in_pieces(tools, me):
    id = launch(tools, me, "printf", "0123456789")
    tools.call("wait", parentSessionId=me)
    first = tools.call("output", id=id, limit=4, parentSessionId=me).answer
    assert first == {"data": "0123", "offset": 4, "eof": False}
    assert tools.call("output", id=id, offset=4, parentSessionId=me).answer == {
        "data": "456789",
        "offset": 10,
        "eof": True,
    }
    assert tools.call("output", id=id, stream="stderr", parentSessionId=me).answer["data"] == ""


def test_list_shows_other_sessions_only_on_request(tools, me):
    mine, other = launch(tools, me, "true"), launch(tools, f"{me}-other", "true")
    assert [task["id"] for task in tools.call("list", parentSessionId=me).answer["tasks"]] == [mine]
    every_session = [task["id"] for task in tools.call("list", parentSessionId="*", limit=100).answer["tasks"]]
    assert {mine, other} <= set(every_session)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("launch", {}, "a task needs a prompt, a command or a call"),
        ("launch", {"comand": ["true"]}, "did you mean command"),
        ("launch", {"prompt": "hi", "agent": "nobody"}, "there is no agent nobody"),
        ("output", {"id": "bg-nothing"}, "no task"),
        ("cancel", {"id": "bg-nothing"}, "no task"),
        ("wait", {"ids": ["bg-nothing"]}, "no task"),
        ("wait", {"timeoutMs": "long"}, "timeoutMs: expected a whole number"),
        ("wait", {"ids": []}, "ids: expected a non-empty list"),
        ("list", {"status": "asleep"}, "status: expected"),
        ("inbox", {"parentSessionId": ["x"]}, "parentSessionId: expected"),
        ("inbox", {"parentSessionId": ""}, "parentSessionId: expected"),
        ("inbox", {"parentSessionId": "x" * 2000}, "parentSessionId: expected"),
        *(
            (name, {"parentSessionId": "*", **more}, "parentSessionId: expected a name other than *")
            for name, more in {
                "launch": {"command": ["true"]},
                "wait": {},
                "inbox": {},
                "output": {"id": "bg-1"},
                "cancel": {"id": "bg-1"},
            }.items()
        ),
        ("inbox", {"id": "x"}, "id: expected"),
        ("refactor", {}, "unknown tool refactor; known tools: launch"),
    ],
)
def test_model_gets_the_reason_of_a_refused_call(tools, name, arguments, words):
    assert words in tools.error(name, **arguments)


def test_session_is_taken_from_the_metadata_of_the_call(tools, me):
    # Codex passes the session this way.
    found = tools.call("launch", {"sessionId": me, "threadId": "t"}, command=["true"])
    assert found.answer["parentSessionId"] == me
    assert tools.call("launch", {"threadId": me}, command=["true"]).answer["parentSessionId"] == me
    tools.call("wait", {"threadId": me})


@pytest.mark.parametrize("session", ["*", "", 7, ["x"], {"x": 1}, "x" * 2000, "\0", None])
def test_invalid_session_in_the_metadata_is_ignored(tools, shared, session):
    folder = f"cwd:{shared.folder.parent}"
    assert tools.call("inbox", {"sessionId": session}).answer["parentSessionId"] == folder
    assert tools.call("inbox", {"sessionId": session, "threadId": "t"}).answer["parentSessionId"] == "t"


@pytest.mark.parametrize("session", ["*", "x" * 2000])
def test_invalid_session_in_the_environment_is_ignored(shared, session):
    with client(str(shared.folder), str(shared.folder.parent), CLAUDE_CODE_SESSION_ID=session) as tools:
        tools.initialize()
        assert tools.call("inbox").answer["parentSessionId"] == f"cwd:{shared.folder.parent}"


def test_unnamed_session_is_named_after_the_folder(tools, shared):
    assert tools.call("inbox").answer["parentSessionId"] == f"cwd:{shared.folder.parent}"


def test_unnamed_sessions_of_a_folder_share_an_inbox(shared, tmp_path):
    home = str(shared.folder)
    with client(home, str(tmp_path)) as one, client(home, str(tmp_path)) as other:
        assert "share one inbox" in one.initialize()["instructions"]
        other.initialize()
        argv, own = [*WAIT_FOR_FILE, str(tmp_path / "go")], f"mine in {tmp_path}"
        id = one.call("launch", command=argv).answer["id"]
        mine = one.call("launch", command=argv, parentSessionId=own).answer["id"]
        (tmp_path / "go").touch()
        shared.until(id)
        shared.until(mine)
        found = other.call("inbox")
        assert found.answer["parentSessionId"] == f"cwd:{tmp_path}"
        assert f"- {id}" in found.notifications and mine not in found.notifications
        assert one.call("inbox").notifications == ""
        assert f"- {mine}" in one.call("inbox", parentSessionId=own).notifications


def test_mcp_answer_omits_notifications_when_client_has_hooks(live: Instance, tmp_path):
    # Only a hook of Claude Code can tell a call of the session from one of its subagent.
    meta = {"claudecode/toolUseId": "toolu_1"}

    def hook(**more: str) -> str:
        question = {"session_id": "me", "hook_event_name": "PostToolUse", "cwd": str(tmp_path), **more}
        return live.run("hook", stdin=json.dumps(question)).stdout

    with client(str(live.folder), str(tmp_path), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.initialize()
        first = tools.call("launch", meta, command=[*WAIT_FOR_FILE, str(tmp_path / "go")]).answer["id"]
        (tmp_path / "go").touch()
        live.until(first)
        assert f"- {first}" in tools.call("inbox", meta).notifications  # no hook has run yet
        assert hook() == ""
        second = tools.call("launch", meta, command=["true"]).answer["id"]
        live.until(second)
        assert tools.call("inbox", meta).notifications == hook(agent_id="subagent") == ""
        assert f"- {second}" in hook()
        third = tools.call("launch", meta, command=["true"]).answer["id"]
        live.until(third)
        assert f"- {third}" in tools.call("inbox").notifications


def test_invalid_configuration_refuses_only_launches(instance: Instance):
    folder = instance.folder.parent
    instance.up()
    id = instance.result("echo", "hi", parentSessionId="me").id
    (instance.folder / "config.toml").write_text("max_workers = [")
    with client(str(instance.folder), str(folder), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.initialize()
        assert [task["id"] for task in tools.call("list").answer["tasks"]] == [id]
        assert tools.call("inbox").answer["unfinished"] == []
        assert tools.call("wait", ids=[id]).answer["timedOut"] is False
        assert tools.call("output", id=id).answer["data"] == "hi\n"
        assert f"{instance.folder / 'config.toml'}:1: " in tools.error("launch", command=["true"])


def test_invalid_configuration_of_the_project_refuses_launches(shared: Instance, tmp_path):
    (tmp_path / "backburner.toml").write_text("max_workers = [")
    with client(str(shared.folder), str(tmp_path), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.initialize()
        assert tools.call("inbox").answer["unfinished"] == []
        assert f"{tmp_path / 'backburner.toml'}:1: " in tools.error("launch", command=["true"])


def test_first_launch_creates_the_state_directory_and_supervisor(instance: Instance, tmp_path):
    """Claude Code starts the server in the project's folder, with the session's ID in the environment."""
    folder = tmp_path / "project"
    folder.mkdir()
    home = Instance(folder / ".backburner")
    with client(str(home.folder), str(folder), CLAUDE_CODE_SESSION_ID="ses-1") as tools:
        tools.initialize()
        for name in ("list", "inbox", "wait"):
            tools.call(name)
        assert not home.folder.exists()
        assert tools.call("launch", command=["pwd"]).answer["parentSessionId"] == "ses-1"
        try:
            found = tools.call("wait")
            assert found.answer["tasks"] == [] or found.answer["tasks"][0]["result"] == str(folder)
            assert home.status()["supervisor"] is not None
        finally:
            home.down(now=True)
            home.close_store()


def test_wait_survives_a_restart_of_the_supervisor(live: Instance, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.initialize()
        id = launch(tools, "me", *WAIT_FOR_FILE, str(tmp_path / "go"))
        live.until(id, "running")
        call = tools.begin_call("wait", parentSessionId="me")
        assert tools.call("list", parentSessionId="other").answer["tasks"] == []  # the wait has begun by now
        live.check("restart")
        live.kill("flusher")
        (tmp_path / "go").touch()
        found = tools.result(call)
        assert [task["id"] for task in found.answer["tasks"]] == [id]
        assert f"- {id}" in found.notifications


def test_wait_finds_a_supervisor_started_after_one_was_killed(live: Instance, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.initialize()
        id = launch(tools, "me", *WAIT_FOR_FILE, str(tmp_path / "go"))
        live.until(id, "running")
        call = tools.begin_call("wait", parentSessionId="me")
        live.kill("supervisor")
        live.kill("flusher")
        live.up()
        (tmp_path / "go").touch()
        found = [
            tools.result(call),
            tools.call("wait", ids=[id], parentSessionId="me"),
        ]  # the first may have returned before the new supervisor started
        assert [task["id"] for task in found[-1].answer["tasks"]] == [id]
        assert "".join(one.notifications for one in found).count(f"- {id}") == 1


def test_wait_reports_that_the_supervisor_is_down_and_starts_none(instance: Instance, tmp_path):
    instance.up(shutdown_grace_s=0, max_workers=1)
    with client(str(instance.folder), str(tmp_path)) as tools:
        tools.initialize()
        running = launch(tools, "me", *WAIT_FOR_FILE, str(tmp_path / "go"))
        instance.until(running, "running")
        waiting = launch(tools, "me", "true", after=[running])
        call = tools.begin_call("wait", parentSessionId="me")
        assert tools.call("list", parentSessionId="other").answer["tasks"] == []  # the wait has begun by now
        instance.down()
        found = tools.result(call).answer
        assert (found["tasks"], found["timedOut"]) == ([], True)
        assert found["note"].startswith(f"No supervisor runs for {instance.folder}")
        (tmp_path / "go").touch()
        instance.until(running)
        found = tools.call("wait", ids=[running, waiting], parentSessionId="me").answer
        assert ([task["id"] for task in found["tasks"]], found["timedOut"]) == ([running], True)
        assert "note" in found
        assert "note" not in tools.call("wait", ids=[running], parentSessionId="me").answer
        assert tools.call("cancel", id=waiting, parentSessionId="me").answer["status"] == "cancelled"
        assert instance.status()["supervisor"] is None


def test_running_tasks_can_be_cancelled_without_supervisor_and_worker(instance: Instance, tmp_path):
    instance.up(shutdown_grace_s=0)
    ids = [instance.launch_sleeper(parentSessionId="me") for _ in range(2)]
    pids, worker = [instance.pid(id) for id in ids], instance.worker_of(ids[0])
    instance.kill("supervisor")
    kill(worker)
    with client(str(instance.folder), str(tmp_path)) as tools:
        tools.initialize()
        for id in ids:
            assert tools.call("cancel", id=id, parentSessionId="me").answer["status"] == "cancelled"
    assert are_gone(pids)
    assert instance.status()["supervisor"] is None


def test_next_server_delivers_the_notifications_of_a_killed_one(shared: Instance, me, tmp_path):
    with client(str(shared.folder), str(tmp_path)) as tools:
        tools.initialize()
        id = launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go"))
        tools.begin_call("wait", parentSessionId=me)
        tools.process.kill()
        tools.process.wait()
        (tmp_path / "go").touch()
        shared.until(id)
        with client(str(shared.folder), str(tmp_path)) as again:
            again.initialize()
            assert f"- {id}" in again.call("inbox", parentSessionId=me).notifications
            assert again.call("inbox", parentSessionId=me).notifications == ""
        tools.process.returncode = 0


def test_simultaneous_answers_deliver_a_notification_once(tools, shared, me, tmp_path):
    ids = [launch(tools, me, *WAIT_FOR_FILE, str(tmp_path / "go")) for _ in range(3)]
    (tmp_path / "go").touch()
    for id in ids:
        shared.until(id)
    found = "".join(
        tools.result(call).notifications for call in [tools.begin_call("inbox", parentSessionId=me) for _ in range(8)]
    )
    assert [found.count(f"- {id}") for id in ids] == [1, 1, 1]


@asynccontextmanager
async def sdk_session(shared: Instance, me: str) -> AsyncIterator[ClientSession]:
    """Connect the SDK's own client for that session."""
    from mcp import ClientSession, StdioServerParameters  # takes a second, of every process that collects the tests
    from mcp.client.stdio import stdio_client

    command, *words = program("--home", str(shared.folder), "mcp")
    server = StdioServerParameters(command=command, args=words, env={**os.environ, "CLAUDE_CODE_SESSION_ID": me})
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


def notifications(result: CallToolResult) -> str:
    """Return the notifications after the answer to a call that must succeed."""
    assert not result.is_error, result
    return "\n".join(part.text for part in result.content[1:])


def test_tools_serve_the_client_of_the_sdk(shared: Instance, me: str):
    async def use_tools() -> None:
        async with sdk_session(shared, me) as session:
            assert len((await session.list_tools()).tools) == 6
            launched = await session.call_tool("launch", {"command": ["echo", "hello"]})
            id, found = json.loads(launched.content[0].text)["id"], notifications(launched)
            for name, arguments in {"wait": {}, "list": {}, "output": {"id": id}, "inbox": {}}.items():
                found += notifications(await session.call_tool(name, arguments))
            assert found.count(f"- {id}") == 1
            assert (await session.call_tool("cancel", {"id": id})).is_error

    asyncio.run(use_tools())


@pytest.mark.timeout(300)
def test_clients_of_the_sdk_at_once_get_their_own_notifications_once(shared: Instance, me: str):
    async def launch_and_wait(number: int) -> str:
        async with sdk_session(shared, f"{me}-{number}") as session:
            task = {"command": ["echo", str(number)], "concurrencyKey": f"{me}-{number}"}
            launched = await asyncio.gather(*(session.call_tool("launch", task) for _ in "ab"))
            ids = [json.loads(result.content[0].text)["id"] for result in launched]
            waited, timed_out = [], True
            while timed_out:
                waited.append(await session.call_tool("wait", {"ids": ids}))
                timed_out = json.loads(waited[-1].content[0].text)["timedOut"]
            found = "".join(map(notifications, [*launched, *waited, await session.call_tool("inbox", {})]))
            assert [found.count(f"- {id}") for id in ids] == [1, 1]
            assert found.count("- bg-") == 2
            return ids[0]

    async def all_clients() -> list[str]:
        return await asyncio.gather(*map(launch_and_wait, range(CLIENTS)))

    assert len(set(asyncio.run(all_clients()))) == CLIENTS


def test_server_without_its_library_names_the_install_command(instance: Instance, tmp_path, monkeypatch):
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = instance.run("mcp")
    assert done.returncode == 100
    assert INSTALL_COMMAND in done.stderr
    assert "Traceback" not in done.stderr


def test_server_survives_malformed_messages(tools):
    assert tools.process.stdin is not None
    tools.process.stdin.write("garbage\n{}\n[1]\n")
    tools.process.stdin.flush()
    assert eventually(lambda: tools.call("list", parentSessionId="x").answer, TIMEOUT) == {"tasks": [], "next": None}


def test_message_that_cannot_be_read_gets_an_error_answer(tools, me):
    number = tools.begin_call("list", parentSessionId=f"{me}\ud800")
    assert "lone surrogates" in tools.receive(number)["error"]["message"]
    assert tools.call("list", parentSessionId=me).answer == {"tasks": [], "next": None}


def test_lists_and_numbers_may_be_text(tools, me):
    answer = tools.call("launch", command='["true"]', priority="5", after=None, parentSessionId=me).answer
    assert tools.call("wait", ids=json.dumps([answer["id"]]), timeoutMs="9000").answer["tasks"][0]["id"] == answer["id"]


def test_answer_and_notifications_are_at_most_20_kb_together(tools, shared, me):
    text = "word " * 1000
    for id in [shared.launch("sh", "-c", f"echo {text}", parentSessionId=me, description=text) for _ in range(30)]:
        shared.until(id)
    number = tools.begin_call("list", parentSessionId=me)
    response = tools.receive(number)
    assert len(json.dumps(response, ensure_ascii=False).encode()) <= 20_480
    notifications = response["result"]["content"][1]["text"]
    assert notifications.startswith("\n<background-tasks>\n30 background tasks completed successfully.")
    assert notifications.endswith("\n</background-tasks>")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_ends_at_a_signal_while_it_waits(shared: Instance, me, number):
    process = subprocess.Popen(
        program("--home", str(shared.folder), "mcp"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        client = Client(process)
        client.initialize()
        client.begin_call("wait", parentSessionId=me)
        client.request("ping")
        process.send_signal(number)
        assert process.wait(timeout=TIMEOUT) != 0


def test_tools_answer_in_a_folder_whose_name_is_not_utf8(shared: Instance, tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    with client(str(shared.folder), os.fsdecode(folder)) as tools:
        tools.initialize()
        assert tools.call("inbox").answer["parentSessionId"].endswith("/caf\\udce9")
        assert "the name of the current folder is not UTF-8" in tools.error("launch", command=["true"])
        id = tools.call("launch", command=["true"], cwd="/").answer["id"]
        assert tools.call("wait", ids=[id]).answer["tasks"][0]["id"] == id
        assert tools.call("list").answer["tasks"][0]["id"] == id
