"""The tools that a model is given, over the Model Context Protocol."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult

from backburner.ipc.api.control import program
from backburner.ipc.machine.distribution import INSTALL_COMMAND
from backburner.supervisor.integrations.mcp_tools import MAX_WAITING
from tests.helpers.stage import PATIENCE, Stage, gone, kill
from tests.helpers.tools import Client, client
from tests.helpers.wait import eventually

#: So many at once.
CLIENTS = 20
#: What a task runs that a test lets go on, by making the file.
UNTIL = ("sh", "-c", 'until [ -e "$0" ]; do sleep 0.05; done; echo done')


@pytest.fixture(scope="module")
def tools(shared: Stage) -> Iterator[Client]:
    """A client that all tests of this file use; each call says whose it is."""
    with client(str(shared.folder), str(shared.folder.parent)) as found:
        found.greet()
        yield found


@pytest.fixture
def me() -> str:
    """A session of this test's own."""
    return f"ses-{uuid.uuid4()}"


def launch(tools: Client, me: str, *argv: str, **more: object) -> str:
    """Launch for that session; the id."""
    found = tools.use("launch", command=list(argv), parentSessionId=me, concurrencyKey=me, **more)
    return found.said["id"]


def test_there_are_exactly_six_tools_and_each_says_how_it_is_used(tools):
    found = {tool["name"]: tool for tool in tools.ask("tools/list")["tools"]}
    assert sorted(found) == ["cancel", "inbox", "launch", "list", "output", "wait"]
    assert all(len(tool["description"]) > 20 for tool in found.values())
    assert all(tool["inputSchema"]["type"] == "object" for tool in found.values())
    assert {"command", "prompt", "agent", "timeoutMs", "uniqueKey"} <= found["launch"]["inputSchema"][
        "properties"
    ].keys()
    assert {tuple(tool.get("outputSchema") or ()) for tool in found.values()} == {()}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
def test_the_protocol_is_spoken_in_the_version_that_the_client_asks_for(shared, version):
    with client(str(shared.folder), str(shared.folder.parent)) as fresh:
        found = fresh.greet(version)
        assert found["protocolVersion"] == version
        assert "<background-tasks>" in found["instructions"]
        assert found["capabilities"].keys() <= {"tools", "experimental"}
        assert fresh.use("list", parentSessionId=version).said["tasks"] == []


def test_what_ended_is_told_once_at_the_end_of_the_next_answer(tools, shared, me, tmp_path):
    id = launch(tools, me, *UNTIL, str(tmp_path / "go"))
    (tmp_path / "go").touch()
    shared.until(id)
    assert f"- {id}" in tools.use("list", parentSessionId=me).told
    assert [tools.use(name, parentSessionId=me).told for name in ("list", "inbox", "wait")] == ["", "", ""]


def test_a_wait_returns_what_ended_and_tells_of_it(tools, me, tmp_path):
    ids = [launch(tools, me, *UNTIL, str(tmp_path / name)) for name in ("one", "two")]
    (tmp_path / "one").touch()
    found = tools.use("wait", ids=ids, any=True, parentSessionId=me)
    assert [task["id"] for task in found.said["tasks"]] == ids[:1]
    assert found.said["tasks"][0]["result"] == "done"
    assert found.said["timedOut"] is False
    assert f"- {ids[0]}" in found.told
    (tmp_path / "two").touch()
    found = tools.use("wait", parentSessionId=me)
    assert [task["id"] for task in found.said["tasks"]] == ids[1:]
    assert "No task of yours is left." in found.told


def test_a_wait_that_takes_too_long_says_what_has_ended_by_then(tools, me, tmp_path):
    id = launch(tools, me, *UNTIL, str(tmp_path / "go"))
    assert tools.use("wait", timeoutMs=10, parentSessionId=me).said == {"tasks": [], "timedOut": True}
    (tmp_path / "go").touch()
    assert tools.use("wait", ids=[id[:12]], timeoutMs=10**9, parentSessionId=me).said["timedOut"] is False


def test_a_cancelled_call_ends_the_wait_and_never_the_task(tools, shared, me, tmp_path):
    id = launch(tools, me, *UNTIL, str(tmp_path / "go"))
    call = tools.start("wait", parentSessionId=me)
    tools.send({"method": "notifications/cancelled", "params": {"requestId": call, "reason": "enough"}})
    assert tools.use("list", parentSessionId=me).said["tasks"][0]["status"] in ("pending", "running")
    (tmp_path / "go").touch()
    assert shared.until(id).result == "done"
    assert f"- {id}" in tools.use("inbox", parentSessionId=me).told


def test_other_tools_answer_while_many_waits_are_open(live: Stage, me, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.greet()
        launch(tools, me, *UNTIL, str(tmp_path / "go"))
        calls = [tools.start("wait", parentSessionId=me) for _ in range(MAX_WAITING + 8)]
        assert len(tools.use("list", parentSessionId=me).said["tasks"]) == 1
        for call in calls:
            tools.send({"method": "notifications/cancelled", "params": {"requestId": call}})
        assert tools.use("wait", timeoutMs=10, parentSessionId=me).said == {"tasks": [], "timedOut": True}
        tools.start("wait", parentSessionId=me)
        assert len(tools.use("list", parentSessionId=me).said["tasks"]) == 1
    # the server has exited although that wait was open


def test_cancel_returns_when_the_tasks_processes_are_gone(tools, shared, me):
    id = launch(tools, me, "sleep", "600")
    shared.pid(id)
    found = tools.use("cancel", id=id, parentSessionId=me)
    assert found.said["status"] == "cancelled"
    assert "cancelled" in found.told
    assert "already ended" in tools.refusal("cancel", id=id, parentSessionId=me)


def test_output_is_read_in_pieces(tools, me):
    id = launch(tools, me, "printf", "0123456789")
    tools.use("wait", parentSessionId=me)
    first = tools.use("output", id=id, limit=4, parentSessionId=me).said
    assert first == {"data": "0123", "offset": 4, "eof": False}
    assert tools.use("output", id=id, offset=4, parentSessionId=me).said == {
        "data": "456789",
        "offset": 10,
        "eof": True,
    }
    assert tools.use("output", id=id, stream="stderr", parentSessionId=me).said["data"] == ""


def test_tasks_of_others_are_listed_only_if_they_are_asked_for(tools, me):
    mine, other = launch(tools, me, "true"), launch(tools, f"{me}-other", "true")
    assert [task["id"] for task in tools.use("list", parentSessionId=me).said["tasks"]] == [mine]
    everybodys = [task["id"] for task in tools.use("list", parentSessionId="*", limit=100).said["tasks"]]
    assert {mine, other} <= set(everybodys)


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
        ("refactor", {}, "There is no tool refactor; there are launch"),
    ],
)
def test_what_is_wrong_is_told_to_the_model(tools, name, arguments, words):
    assert words in tools.refusal(name, **arguments)


def test_the_session_is_taken_from_what_the_client_puts_beside_the_call(tools, me):
    """As Codex does it."""
    found = tools.use("launch", {"sessionId": me, "threadId": "t"}, command=["true"])
    assert found.said["parentSessionId"] == me
    assert tools.use("launch", {"threadId": me}, command=["true"]).said["parentSessionId"] == me
    tools.use("wait", {"threadId": me})


@pytest.mark.parametrize("told", ["*", "", 7, ["x"], {"x": 1}, "x" * 2000, "\0", None])
def test_what_can_be_no_session_beside_the_call_is_none(tools, shared, told):
    folder = f"cwd:{shared.folder.parent}"
    assert tools.use("inbox", {"sessionId": told}).said["parentSessionId"] == folder
    assert tools.use("inbox", {"sessionId": told, "threadId": "t"}).said["parentSessionId"] == "t"


@pytest.mark.parametrize("told", ["*", "x" * 2000])
def test_what_can_be_no_session_in_the_environment_is_none(shared, told):
    with client(str(shared.folder), str(shared.folder.parent), CLAUDE_CODE_SESSION_ID=told) as tools:
        tools.greet()
        assert tools.use("inbox").said["parentSessionId"] == f"cwd:{shared.folder.parent}"


def test_the_session_is_the_folder_where_nobody_tells_it(tools, shared):
    assert tools.use("inbox").said["parentSessionId"] == f"cwd:{shared.folder.parent}"


def test_sessions_of_one_folder_that_nobody_names_share_an_inbox_and_are_told_how_not_to(shared, tmp_path):
    home = str(shared.folder)
    with client(home, str(tmp_path)) as one, client(home, str(tmp_path)) as other:
        assert "share one inbox" in one.greet()["instructions"]
        other.greet()
        argv, own = [*UNTIL, str(tmp_path / "go")], f"mine in {tmp_path}"
        id = one.use("launch", command=argv).said["id"]
        mine = one.use("launch", command=argv, parentSessionId=own).said["id"]
        (tmp_path / "go").touch()
        shared.until(id)
        shared.until(mine)
        told = other.use("inbox")
        assert told.said["parentSessionId"] == f"cwd:{tmp_path}"
        assert f"- {id}" in told.told and mine not in told.told
        assert one.use("inbox").told == ""
        assert f"- {mine}" in one.use("inbox", parentSessionId=own).told


def test_where_a_hook_of_the_client_tells_after_each_call_the_answer_leaves_it_to_it(live: Stage, tmp_path):
    """As Claude Code does it: only its hook knows whether the session has called or a helper of it."""
    beside = {"claudecode/toolUseId": "toolu_1"}

    def hook(**more: str) -> str:
        question = {"session_id": "me", "hook_event_name": "PostToolUse", "cwd": str(tmp_path), **more}
        return live.say("hook", stdin=json.dumps(question))

    with client(str(live.folder), str(tmp_path), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.greet()
        first = tools.use("launch", beside, command=[*UNTIL, str(tmp_path / "go")]).said["id"]
        (tmp_path / "go").touch()
        live.until(first)
        assert f"- {first}" in tools.use("inbox", beside).told  # nobody else would tell it
        assert hook() == ""
        second = tools.use("launch", beside, command=["true"]).said["id"]
        live.until(second)
        assert tools.use("inbox", beside).told == hook(agent_id="helper") == ""
        assert f"- {second}" in hook()
        third = tools.use("launch", beside, command=["true"]).said["id"]
        live.until(third)
        assert f"- {third}" in tools.use("inbox").told


@pytest.mark.parametrize("place", ["backburner.toml", ".backburner/config.toml"])
def test_with_a_broken_configuration_only_a_launch_is_refused(stage: Stage, place):
    folder = stage.folder.parent
    stage.up()
    with client(str(stage.folder), str(folder), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.greet()
        id = tools.use("launch", command=["echo", "hi"]).said["id"]
        stage.until(id)
    (folder / place).write_text("max_workers = [")
    with client(str(stage.folder), str(folder), CLAUDE_CODE_SESSION_ID="me") as tools:
        tools.greet()
        assert [task["id"] for task in tools.use("list").said["tasks"]] == [id]
        assert tools.use("inbox").said["unfinished"] == []
        assert tools.use("wait", ids=[id]).said["timedOut"] is False
        assert tools.use("output", id=id).said["data"] == "hi\n"
        assert f"{folder / place}:1: " in tools.refusal("launch", command=["true"])


def test_a_home_and_a_supervisor_come_with_the_first_launch_and_not_before(stage: Stage, tmp_path):
    """As Claude Code starts it: in the project's folder, with the session's id in the environment."""
    folder = tmp_path / "project"
    folder.mkdir()
    home = Stage(folder / ".backburner")
    with client(str(home.folder), str(folder), CLAUDE_CODE_SESSION_ID="ses-1") as tools:
        tools.greet()
        for name in ("list", "inbox", "wait"):
            tools.use(name)
        assert not home.folder.exists()
        assert tools.use("launch", command=["pwd"]).said["parentSessionId"] == "ses-1"
        try:
            found = tools.use("wait")
            assert found.said["tasks"] == [] or found.said["tasks"][0]["result"] == str(folder)
            assert home.status()["supervisor"] is not None
        finally:
            home.down(now=True)
            home.forget()


def test_a_wait_goes_on_over_a_restart_of_the_supervisor(live: Stage, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.greet()
        id = launch(tools, "me", *UNTIL, str(tmp_path / "go"))
        live.until(id, "running")
        call = tools.start("wait", parentSessionId="me")
        assert tools.use("list", parentSessionId="other").said["tasks"] == []  # by now it waits
        live.say("restart")
        live.kill("flusher")
        (tmp_path / "go").touch()
        found = tools.used(call)
        assert [task["id"] for task in found.said["tasks"]] == [id]
        assert f"- {id}" in found.told


def test_a_wait_finds_the_supervisor_that_was_started_after_another_one_was_killed(live: Stage, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.greet()
        id = launch(tools, "me", *UNTIL, str(tmp_path / "go"))
        live.until(id, "running")
        call = tools.start("wait", parentSessionId="me")
        live.kill("supervisor")
        live.kill("flusher")
        live.up()
        (tmp_path / "go").touch()
        found = [
            tools.used(call),
            tools.use("wait", ids=[id], parentSessionId="me"),
        ]  # the first may have been too soon
        assert [task["id"] for task in found[-1].said["tasks"]] == [id]
        assert "".join(one.told for one in found).count(f"- {id}") == 1


def test_a_wait_starts_no_supervisor_that_was_taken_down_and_says_so(stage: Stage, tmp_path):
    stage.up(shutdown_grace_s=0, max_workers=1)
    with client(str(stage.folder), str(tmp_path)) as tools:
        tools.greet()
        running = launch(tools, "me", *UNTIL, str(tmp_path / "go"))
        stage.until(running, "running")
        waiting = launch(tools, "me", "true", after=[running])
        call = tools.start("wait", parentSessionId="me")
        assert tools.use("list", parentSessionId="other").said["tasks"] == []  # by now it waits
        stage.down()
        found = tools.used(call).said
        assert (found["tasks"], found["timedOut"]) == ([], True)
        assert found["note"].startswith(f"No supervisor runs for {stage.folder}")
        (tmp_path / "go").touch()
        stage.until(running)
        found = tools.use("wait", ids=[running, waiting], parentSessionId="me").said
        assert ([task["id"] for task in found["tasks"]], found["timedOut"]) == ([running], True)
        assert "note" in found
        assert "note" not in tools.use("wait", ids=[running], parentSessionId="me").said
        assert tools.use("cancel", id=waiting, parentSessionId="me").said["status"] == "cancelled"
        assert stage.status()["supervisor"] is None


@pytest.mark.parametrize("killed", [False, True], ids=["its worker lives", "its worker was killed"])
def test_what_runs_on_without_a_supervisor_can_be_cancelled_without_one(stage: Stage, tmp_path, killed):
    stage.up(shutdown_grace_s=0)
    id = stage.sleeper(parentSessionId="me")
    pid, worker = stage.pid(id), stage.worker_of(id)
    stage.kill("supervisor")
    if killed:
        kill(worker)
    with client(str(stage.folder), str(tmp_path)) as tools:
        tools.greet()
        assert tools.use("cancel", id=id, parentSessionId="me").said["status"] == "cancelled"
    assert gone([pid])
    assert stage.status()["supervisor"] is None


def test_what_a_killed_server_did_not_deliver_the_next_one_tells(live: Stage, tmp_path):
    with client(str(live.folder), str(tmp_path)) as tools:
        tools.greet()
        id = launch(tools, "me", *UNTIL, str(tmp_path / "go"))
        tools.start("wait", parentSessionId="me")
        tools.process.kill()
        tools.process.wait()
        (tmp_path / "go").touch()
        live.until(id)
        with client(str(live.folder), str(tmp_path)) as again:
            again.greet()
            assert f"- {id}" in again.use("inbox", parentSessionId="me").told
            assert again.use("inbox", parentSessionId="me").told == ""
        tools.process.returncode = 0


def test_answers_that_leave_in_the_same_moment_tell_a_notice_once(tools, shared, me, tmp_path):
    ids = [launch(tools, me, *UNTIL, str(tmp_path / "go")) for _ in range(3)]
    (tmp_path / "go").touch()
    for id in ids:
        shared.until(id)
    told = "".join(tools.used(call).told for call in [tools.start("inbox", parentSessionId=me) for _ in range(8)])
    assert [told.count(f"- {id}") for id in ids] == [1, 1, 1]


@asynccontextmanager
async def official(shared: Stage, me: str) -> AsyncIterator[ClientSession]:
    """The SDK's own client, of that session."""
    command, *words = program("--home", str(shared.folder), "mcp")
    server = StdioServerParameters(command=command, args=words, env={**os.environ, "CLAUDE_CODE_SESSION_ID": me})
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


def told(result: CallToolResult) -> str:
    """What a session is told besides the answer to a call that must succeed."""
    assert not result.is_error, result
    return "\n".join(part.text for part in result.content[1:])


def test_the_tools_serve_the_sdks_own_client(shared: Stage, me: str):
    async def talk() -> None:
        async with official(shared, me) as session:
            assert len((await session.list_tools()).tools) == 6
            launched = await session.call_tool("launch", {"command": ["echo", "hello"]})
            id, heard = json.loads(launched.content[0].text)["id"], told(launched)
            for name, arguments in {"wait": {}, "list": {}, "output": {"id": id}, "inbox": {}}.items():
                heard += told(await session.call_tool(name, arguments))
            assert heard.count(f"- {id}") == 1
            assert (await session.call_tool("cancel", {"id": id})).is_error

    asyncio.run(talk())


@pytest.mark.timeout(300)
def test_twenty_of_the_sdks_clients_at_once_are_each_told_of_their_own_once(shared: Stage, me: str):
    async def talk(number: int) -> str:
        async with official(shared, f"{me}-{number}") as session:
            task = {"command": ["echo", str(number)], "concurrencyKey": f"{me}-{number}"}
            launched = await asyncio.gather(*(session.call_tool("launch", task) for _ in "ab"))
            ids = [json.loads(result.content[0].text)["id"] for result in launched]
            waited, timed_out = [], True
            while timed_out:
                waited.append(await session.call_tool("wait", {"ids": ids}))
                timed_out = json.loads(waited[-1].content[0].text)["timedOut"]
            heard = "".join(map(told, [*launched, *waited, await session.call_tool("inbox", {})]))
            assert [heard.count(f"- {id}") for id in ids] == [1, 1]
            assert heard.count("- bg-") == 2
            return ids[0]

    async def crowd() -> list[str]:
        return await asyncio.gather(*map(talk, range(CLIENTS)))

    assert len(set(asyncio.run(crowd()))) == CLIENTS


def test_without_its_library_it_says_how_to_install_it(stage: Stage, tmp_path, monkeypatch):
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = stage.run("mcp")
    assert done.returncode == 100
    assert INSTALL_COMMAND in done.stderr
    assert "Traceback" not in done.stderr


def test_a_message_that_is_none_is_survived(tools):
    assert tools.process.stdin is not None
    tools.process.stdin.write("garbage\n{}\n[1]\n")
    tools.process.stdin.flush()
    assert eventually(lambda: tools.use("list", parentSessionId="x").said, PATIENCE) == {"tasks": [], "next": None}
