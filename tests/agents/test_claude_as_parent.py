"""Claude Code as a parent: what ends reaches its model once, whatever is killed, whatever its session is called."""

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

#: Node.js and Python take their time on a machine with something else to do.
PATIENCE = 240.0


@pytest.fixture
def model() -> Iterator[Model]:
    with Model() as found:
        yield found


@pytest.fixture
def instance(home: Path) -> Iterator[Instance]:
    with Instance(home) as found:
        found.timeout = PATIENCE
        yield found
        kill_processes_of(home)


@pytest.fixture
def desk(instance: Instance, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClaudeProject:
    monkeypatch.setenv("HOME", str(tmp_path))  # it is set anew, and put back
    return ClaudeProject(tmp_path / "desk", model)


def ready(claude: Claude) -> None:
    """Say hello until Claude has our tools: it does not wait for servers that it starts."""
    eventually(lambda: "mcp__backburner__launch" in claude.send("hello", Say("hi"))[-1].tools, PATIENCE, "our tools")


def until(path: Path) -> list[str]:
    """What a task runs that ends when a test makes the file."""
    return [sys.executable, "-S", "-c", f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.05)"]


def launch(claude: Claude, instance: Instance, *paths: Path) -> list[str]:
    """Have the model launch tasks, one call each, and end its turn; their ids."""
    calls = [Call("mcp__backburner__launch", {"command": until(path), "description": path.name}) for path in paths]
    asked = claude.send("work on it", *calls, Say("started; I will be told"))
    ids = re.findall(r'\{"id": "(bg-[^"]+)"', "".join(message.text for message in asked[-1].messages))
    found = list(dict.fromkeys(ids))[-len(paths) :]
    assert len(found) == len(paths), asked[-1].messages[-1]
    return found


def finish(instance: Instance, ids: Sequence[str], *paths: Path) -> None:
    """Have the tasks end."""
    for path in paths:
        path.touch()
    for id in ids:
        instance.until(id)


def times_told(requests: Sequence[Request], ids: Sequence[str]) -> list[list[int]]:
    """How often each request tells of each task's end."""
    return [[request.count(f"- {id} [") for id in ids] for request in requests]


def three_more(claude: Claude) -> list[Request]:
    """The next three requests, one for each thing that the user says."""
    return [claude.send(text, Say("well"))[-1] for text in ("and?", "go on", "thanks")]


def test_two_tasks_end_after_the_turn_and_the_model_is_told_once(desk, instance, tmp_path):
    with desk.claude() as claude:
        ready(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        assert {instance.task(id).parent_session_id for id in ids} == {claude.session}
        finish(instance, ids, tmp_path / "one", tmp_path / "two")
        assert times_told(three_more(claude), ids) == [[1, 1]] * 3


def test_it_is_told_once_though_supervisor_flusher_and_server_are_killed_in_between(desk, instance, tmp_path):
    with desk.claude() as claude:
        ready(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        for id in ids:
            instance.until(id, "running")
        for role in ("supervisor", "flusher"):
            instance.kill(role)
        claude.kill_server()
        finish(instance, ids, tmp_path / "one", tmp_path / "two")
        assert times_told(three_more(claude), ids) == [[1, 1]] * 3


def test_a_helper_that_uses_our_tools_takes_nothing_that_its_session_is_to_be_told(desk, instance, tmp_path):
    with desk.claude() as claude:
        ready(claude)
        ids = launch(claude, instance, tmp_path / "one")
        helper = Call("Agent", {"description": "look", "prompt": "look", "subagent_type": "general-purpose"})
        touch = Call("Bash", {"command": f"touch {tmp_path}/one"})
        wait = Call("mcp__backburner__wait", {"ids": ids})
        inbox = Call("mcp__backburner__inbox")
        asked = claude.send("go", helper, touch, wait, inbox, Say("looked"), Say("well"))
        of_helper = [request for request in asked if not request.count("started; I will be told")]
        assert of_helper[-1].count('"unfinished": []')
        assert times_told(of_helper, ids) == [[0]] * len(of_helper)
        assert times_told(three_more(claude), ids) == [[1]] * 3


def test_a_session_that_was_cleared_is_told_under_its_new_id(desk, instance, tmp_path):
    with desk.claude() as claude:
        ready(claude)
        before = launch(claude, instance, tmp_path / "one")
        former = claude.session
        finish(instance, before, tmp_path / "one")
        later = launch(claude, instance, tmp_path / "two")
        claude.send("/clear")
        assert claude.session != former
        finish(instance, later, tmp_path / "two")
        ids = [*before, *later]
        told = times_told(three_more(claude), ids)
        assert told == [[0, 1]] * 3  # the first one was told before, in what is cleared
        again = launch(claude, instance, tmp_path / "three")
        assert instance.task(again[0]).parent_session_id == claude.session
        finish(instance, again, tmp_path / "three")
        assert times_told(three_more(claude), [*ids, *again]) == [[0, 1, 1]] * 3


@pytest.mark.parametrize("word", ["/clear", "/compact"])
def test_what_ended_before_a_conversation_is_cleared_or_compacted_is_told_after_it(desk, instance, tmp_path, word):
    with desk.claude() as claude:
        ready(claude)
        ids = launch(claude, instance, tmp_path / "one", tmp_path / "two")
        session = claude.session
        finish(instance, ids[:1], tmp_path / "one")
        claude.send(word, Say("In short: two tasks were started."))
        assert (claude.session == session) is (word == "/compact")
        assert any(line.get("subtype") == "compact_boundary" for line in claude.lines) is (word == "/compact")
        finish(instance, ids[1:], tmp_path / "two")
        assert times_told(three_more(claude), ids) == [[1, 1]] * 3
        again = launch(claude, instance, tmp_path / "three")
        assert instance.task(again[0]).parent_session_id == claude.session
        finish(instance, again, tmp_path / "three")
        assert times_told(three_more(claude), [*ids, *again]) == [[1, 1, 1]] * 3


@pytest.mark.parametrize("how", ["resume", "continue", "fork"])
def test_a_conversation_that_is_taken_up_again_is_told(desk, instance, tmp_path, how):
    with desk.claude() as claude:
        ready(claude)
        ids = launch(claude, instance, tmp_path / "one")
        session = claude.session
    finish(instance, ids, tmp_path / "one")
    words = {
        "resume": ["--resume", session],
        "continue": ["--continue"],
        "fork": ["--resume", session, "--fork-session"],
    }
    with desk.claude(*words[how]) as claude:
        assert times_told(three_more(claude), ids) == [[1]] * 3
        assert (claude.session == session) is (how != "fork")
        ready(claude)
        more = launch(claude, instance, tmp_path / "two")
        finish(instance, more, tmp_path / "two")
        assert times_told(three_more(claude), more) == [[1]] * 3


def test_a_plain_launch_from_its_shell_is_told_the_same_way(desk, instance, tmp_path):
    command = shlex.join(program("--home", str(instance.folder), "launch", "--up", "--", *until(tmp_path / "go")))
    with desk.claude() as claude:
        asked = claude.send("work on it", Call("Bash", {"command": command}), Say("started"))
        (id,) = re.findall(r"^bg-\S+$", asked[-1].messages[-1].text, re.MULTILINE)
        assert instance.task(id).parent_session_id == claude.session
        finish(instance, [id], tmp_path / "go")
        assert times_told(three_more(claude), [id]) == [[1]] * 3


def test_a_model_that_would_end_its_turn_is_told_what_ended_meanwhile(desk, instance, model, tmp_path):
    """The Stop hook has it go on, once: the task ends while it says its last words."""
    command = shlex.join(program("--home", str(instance.folder), "launch", "--up", "--", *until(tmp_path / "go")))
    with desk.claude() as claude:
        words = Slow("these are my last words " * 6, 0.5)
        turns = (Call("Bash", {"command": command}), words, Say("I see"), Say("still here"))
        threading.Thread(target=touch_when_asked_twice, args=(model, tmp_path / "go"), daemon=True).start()
        asked = claude.send("work on it", *turns)
        assert [request.count("<background-tasks>\n1 background task completed") for request in asked] == [0, 0, 1]
        assert "Stop hook feedback" in asked[-1].messages[-1].text


def touch_when_asked_twice(model: Model, path: Path) -> None:
    """Let the task end when the model has begun to say its last words."""
    eventually(lambda: sum(bool(request.tools) for request in model.requests) == 2, PATIENCE, "the last words")
    path.touch()
