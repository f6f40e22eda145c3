"""Claude Code as a parent: each end reaches the model once, although roles are killed and sessions change their ids."""

from __future__ import annotations

import re
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from tests.helpers.clis import needs
from tests.helpers.instance import Instance
from tests.helpers.model import Call, Model, Say, Slow
from tests.helpers.model.turns import Request
from tests.helpers.parent import Claude, ClaudeProject
from tests.helpers.processes import kill_processes_of
from tests.helpers.wait import eventually

pytestmark = [pytest.mark.timeout(600), needs("claude")]

#: Seconds. Node.js and Python start slowly on a busy machine.
TIMEOUT = 240.0


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as found:
        yield found


@pytest.fixture
def instance(home: Path) -> Iterator[Instance]:
    with Instance(home) as found:
        found.timeout = TIMEOUT
        yield found
        kill_processes_of(home)


@pytest.fixture
def project(instance: Instance, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClaudeProject:
    monkeypatch.setenv("HOME", str(tmp_path))  # ClaudeProject changes it, and monkeypatch restores it
    return ClaudeProject(tmp_path / "project", model)


def wait_for_tools(claude: Claude) -> None:
    """Send messages until Claude has our tools. It does not wait for servers that it starts."""
    eventually(lambda: "mcp__backburner__launch" in claude.send("hello", Say("hi"))[-1].tools, TIMEOUT, "our tools")


def wait_for_file(path: Path) -> list[str]:
    """Return a command that ends when the test creates the file."""
    return [sys.executable, "-S", "-c", f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.05)"]


def launch(claude: Claude, instance: Instance, *paths: Path) -> list[str]:
    """Have the model launch tasks, one call each, and end its turn. Return the ids."""
    calls = [
        Call("mcp__backburner__launch", {"command": wait_for_file(path), "description": path.name}) for path in paths
    ]
    asked = claude.send("work on it", *calls, Say("started; I will be notified"))
    ids = re.findall(r'\{"id": "(bg-[^"]+)"', "".join(message.text for message in asked[-1].messages))
    found = list(dict.fromkeys(ids))[-len(paths) :]
    assert len(found) == len(paths), asked[-1].messages[-1]
    return found


def finish(instance: Instance, ids: Sequence[str], *paths: Path) -> None:
    """Let the tasks end, and wait for their ends."""
    for path in paths:
        path.touch()
    for id in ids:
        instance.until(id)


def count_notifications(requests: Sequence[Request], ids: Sequence[str]) -> list[list[int]]:
    """Count the notifications of each task in each request."""
    return [[request.count(f"- {id} [") for id in ids] for request in requests]


def send_three_messages(claude: Claude) -> list[Request]:
    """Send three messages of the user, and return the last request of each."""
    return [claude.send(text, Say("well"))[-1] for text in ("one", "two", "three")]


def test_model_is_notified_once_of_tasks_that_end_after_its_turn(project, instance, tmp_path):
    with project.claude() as claude:
        wait_for_tools(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        assert {instance.task(id).parent_session_id for id in ids} == {claude.session}
        finish(instance, ids, tmp_path / "one", tmp_path / "two")
        assert count_notifications(send_three_messages(claude), ids) == [[1, 1]] * 3


def test_model_is_notified_once_although_all_roles_and_the_server_are_killed(project, instance, tmp_path):
    with project.claude() as claude:
        wait_for_tools(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        for id in ids:
            instance.until(id, "running")
        for role in ("supervisor", "flusher"):
            instance.kill(role)
        claude.kill_server()
        finish(instance, ids, tmp_path / "one", tmp_path / "two")
        assert count_notifications(send_three_messages(claude), ids) == [[1, 1]] * 3


def test_subagent_that_uses_the_tools_takes_no_notification_of_its_session(project, instance, tmp_path):
    with project.claude() as claude:
        wait_for_tools(claude)
        ids = launch(claude, instance, tmp_path / "one")
        subagent = Call("Agent", {"description": "look", "prompt": "look", "subagent_type": "general-purpose"})
        touch = Call("Bash", {"command": f"touch {tmp_path}/one"})
        wait = Call("mcp__backburner__wait", {"ids": ids})
        inbox = Call("mcp__backburner__inbox")
        asked = claude.send("go", subagent, touch, wait, inbox, Say("looked"), Say("well"))
        of_subagent = [request for request in asked if not request.count("started; I will be notified")]
        assert of_subagent[-1].count('"unfinished": []')
        assert count_notifications(of_subagent, ids) == [[0]] * len(of_subagent)
        assert count_notifications(send_three_messages(claude), ids) == [[1]] * 3


def test_cleared_session_is_notified_under_its_new_id(project, instance, tmp_path):
    with project.claude() as claude:
        wait_for_tools(claude)
        before = launch(claude, instance, tmp_path / "one")
        former = claude.session
        finish(instance, before, tmp_path / "one")
        later = launch(claude, instance, tmp_path / "two")
        claude.send("/clear")
        assert claude.session != former
        finish(instance, later, tmp_path / "two")
        ids = [*before, *later]
        # the first one was reported in the part of the conversation that was cleared
        assert count_notifications(send_three_messages(claude), ids) == [[0, 1]] * 3
        again = launch(claude, instance, tmp_path / "three")
        assert instance.task(again[0]).parent_session_id == claude.session
        finish(instance, again, tmp_path / "three")
        assert count_notifications(send_three_messages(claude), [*ids, *again]) == [[0, 1, 1]] * 3


@pytest.mark.parametrize("word", ["/clear", "/compact"])
def test_tasks_that_ended_before_clear_or_compact_are_reported_after_it(project, instance, tmp_path, word):
    with project.claude() as claude:
        wait_for_tools(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        session = claude.session
        finish(instance, ids[:1], tmp_path / "one")
        claude.send(word, Say("In short: two tasks were started."))
        assert (claude.session == session) is (word == "/compact")
        assert any(line.get("subtype") == "compact_boundary" for line in claude.lines) is (word == "/compact")
        finish(instance, ids[1:], tmp_path / "two")
        assert count_notifications(send_three_messages(claude), ids) == [[1, 1]] * 3
        again = launch(claude, instance, tmp_path / "three")
        assert instance.task(again[0]).parent_session_id == claude.session
        finish(instance, again, tmp_path / "three")
        assert count_notifications(send_three_messages(claude), [*ids, *again]) == [[1, 1, 1]] * 3


@pytest.mark.parametrize("how", ["resume", "continue", "fork"])
def test_resumed_session_is_notified(project, instance, tmp_path, how):
    with project.claude() as claude:
        wait_for_tools(claude)
        ids = launch(claude, instance, tmp_path / "one")
        session = claude.session
    finish(instance, ids, tmp_path / "one")
    words = {
        "resume": ["--resume", session],
        "continue": ["--continue"],
        "fork": ["--resume", session, "--fork-session"],
    }
    with project.claude(*words[how]) as claude:
        assert count_notifications(send_three_messages(claude), ids) == [[1]] * 3
        assert (claude.session == session) is (how != "fork")
        wait_for_tools(claude)
        more = launch(claude, instance, tmp_path / "two")
        finish(instance, more, tmp_path / "two")
        assert count_notifications(send_three_messages(claude), more) == [[1]] * 3


def test_launch_from_the_shell_of_the_session_notifies_it_too(project, instance, tmp_path):
    command = shlex.join(
        program("--home", str(instance.folder), "launch", "--up", "--", *wait_for_file(tmp_path / "go"))
    )
    with project.claude() as claude:
        asked = claude.send("work on it", Call("Bash", {"command": command}), Say("started"))
        (id,) = re.findall(r"^bg-\S+$", asked[-1].messages[-1].text, re.MULTILINE)
        assert instance.task(id).parent_session_id == claude.session
        finish(instance, [id], tmp_path / "go")
        assert count_notifications(send_three_messages(claude), [id]) == [[1]] * 3


def test_model_that_would_end_its_turn_is_notified_of_tasks_that_ended_meanwhile(project, instance, model, tmp_path):
    # The Stop hook makes the model continue, once, because the task ends during its last answer.
    command = shlex.join(
        program("--home", str(instance.folder), "launch", "--up", "--", *wait_for_file(tmp_path / "go"))
    )
    with project.claude() as claude:
        answer = Slow("this is my last answer " * 6, 0.5)
        turns = (Call("Bash", {"command": command}), answer, Say("I see"), Say("still here"))
        threading.Thread(target=touch_at_second_request, args=(model, tmp_path / "go"), daemon=True).start()
        asked = claude.send("work on it", *turns)
        assert [request.count("<background-tasks>\n1 background task completed") for request in asked] == [0, 0, 1]
        assert "Stop hook feedback" in asked[-1].messages[-1].text


def touch_at_second_request(model: Model, path: Path) -> None:
    """Let the task end when the model has begun its last answer."""
    eventually(lambda: sum(bool(request.tools) for request in model.requests) == 2, TIMEOUT, "the second request")
    path.touch()
