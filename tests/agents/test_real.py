"""Real agents, as they are on the registries, against a model on loopback."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backburner.ipc.model.task import Task
from tests.helpers.clis import needs, write_settings
from tests.helpers.instance import Instance
from tests.helpers.model import Call, Fail, Hang, Model, Say, Slow
from tests.helpers.processes import kill_processes_of, processes_of
from tests.helpers.wait import eventually

#: Those on Node.js take half a minute to start on a machine with something else to do.
PATIENCE = 240.0
pytestmark = pytest.mark.timeout(600)


class Habit(NamedTuple):
    """What is special to an agent."""

    #: The model it is asked to use; none: its own.
    model: str | None
    #: How it is made to write a file `a.txt` in its folder.
    write: Any = None


def _path(name: str, **more: str) -> Any:
    return lambda folder: {name: f"{folder}/a.txt", **more}


HABITS = {
    "claude": Habit(None, ("Write", _path("file_path", content="hello"))),
    "codex": Habit("gpt-5", ("exec_command", lambda _folder: {"cmd": "printf hello > a.txt"})),
    "opencode": Habit("mock/m", ("write", _path("filePath", content="hello"))),
    "gemini": Habit("gemini-2.5-flash", ("write_file", _path("file_path", content="hello"))),
    "qwen": Habit("m", ("write_file", _path("file_path", content="hello"))),
    "aider": Habit("openai/gpt-4o"),
    "llm": Habit("gpt-4o-mini"),
}
AGENTS = [pytest.param(name, marks=[needs(name), pytest.mark.xdist_group(name)], id=name) for name in HABITS]
every_agent = pytest.mark.parametrize("room", AGENTS, indirect=True)

#: What a person must be told of each refusal, in any of the agents' words.
CAUSES = {
    401: ("invalid api key",),
    429: ("rate limit reached", "429"),
    500: ("internal server error", "high demand"),
}


class Room:
    """One agent, its home, its folder, and the model that it talks to."""

    def __init__(self, name: str, instance: Instance, folder: Path, model: Model) -> None:
        self.name, self.instance, self.model = name, instance, model
        self.habit = HABITS[name]
        self.folder = folder / "work"
        self.folder.mkdir()
        self.env = write_settings(folder / "home", model.url)

    def launch(self, prompt: str, **fields: Any) -> str:
        """Launch a prompt for this agent; the id."""
        said = {"prompt": prompt, "agent": self.name, "env": self.env, "cwd": str(self.folder), **fields}
        return self.instance.launch(**said | ({"model": self.habit.model} if self.habit.model else {}))

    def ask(self, prompt: str, **fields: Any) -> Task:
        """Launch, and wait for the end."""
        return self.instance.until(self.launch(prompt, **fields))


@pytest.fixture(scope="module")
def crowd() -> Iterator[Instance]:
    """A supervisor for all agents of this file."""
    project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
    (project / ".backburner").mkdir(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(project / "xdg-config"))
        with Instance(project / ".backburner") as instance:
            instance.timeout = PATIENCE
            yield instance.up(kill_grace_s=5, polling_interval_ms=500)
            instance.down(now=True)
            try:
                eventually(lambda: not processes_of(instance.folder), message="all agents to be gone")
            finally:
                kill_processes_of(instance.folder)
        shutil.rmtree(project)


@pytest.fixture(scope="module")
def rooms(crowd: Instance) -> Iterator[dict[str, Room]]:
    """The rooms that were entered: an agent's first start in a home is its slowest."""
    found: dict[str, Room] = {}
    yield found
    for room in found.values():
        room.model.close()


@pytest.fixture
def room(request: pytest.FixtureRequest, crowd: Instance, rooms: dict[str, Room]) -> Room:
    """The room of one agent."""
    name = request.param
    if name not in rooms:
        folder = crowd.folder.parent / name
        folder.mkdir()
        rooms[name] = Room(name, crowd, folder, Model())
    return rooms[name]


@every_agent
def test_an_agent_answers_with_its_result_and_its_session(room: Room):
    room.model.now(Say("pong from mock"))
    task = room.ask("ping for you")
    assert (task.status, task.error, task.result) == ("completed", None, "pong from mock")
    assert task.session_id
    assert any(request.count("ping for you") for request in room.model.requests)


@every_agent
def test_a_follow_up_goes_on_in_the_session_of_its_task(room: Room):
    room.model.now(Say("pong from mock"))
    first = room.ask("the word is abracadabra")
    room.model.now(Say("it was abracadabra"))
    task = room.instance.until(
        room.instance.launch(prompt="what was it?", resume=first.id, env=room.env, cwd=str(room.folder))
    )
    assert (task.status, task.error, task.result) == ("completed", None, "it was abracadabra")
    assert (task.session_id, task.resumes) == (first.session_id, first.id)
    heard = [request for request in room.model.requests if request.count("what was it?")]
    assert any(request.count("the word is abracadabra") for request in heard)


@every_agent
def test_an_answer_that_comes_slowly_is_waited_for(room: Room):
    room.model.now(Slow("one two three four", pause=0.2))
    task = room.ask("count")
    assert (task.status, (task.result or "").split()) == ("completed", ["one", "two", "three", "four"])


@every_agent
def test_an_agent_may_change_files_in_its_folder_unasked(room: Room):
    if room.habit.write is None:
        pytest.skip(f"{room.name} calls no tools")
    name, arguments = room.habit.write
    room.model.now(Call(name, arguments(room.folder)), Say("written"))
    task = room.ask("write a file")
    assert (task.status, task.result) == ("completed", "written")
    assert (room.folder / "a.txt").read_text().strip() == "hello"
    (room.folder / "a.txt").unlink()


@every_agent
@pytest.mark.parametrize("status", CAUSES)
def test_a_refusal_by_the_provider_is_an_error_with_a_cause(room: Room, status: int):
    room.model.now(Fail(status))
    task = room.ask("ping")
    assert (task.status, task.result) == ("error", None)
    assert task.error_kind in ("exit", "failed")
    assert any(cause in (task.error or "") for cause in CAUSES[status]), task.error


@needs("opencode")
@pytest.mark.xdist_group("opencode")
@pytest.mark.parametrize("room", ["opencode"], indirect=True)
def test_an_agent_that_is_to_come_again_much_later_is_ended_by_the_clock_with_a_cause(room: Room):
    room.model.now(Fail(429, retry_after=3600))
    task = room.ask("ping", timeoutMs=60_000)
    assert (task.status, task.error_kind) == ("error", "timeout")
    assert "rate limit reached" in (task.error or "")


@every_agent
def test_an_agent_that_waits_for_its_model_is_cancelled_without_a_trace(room: Room):
    room.model.now(Hang())
    id = room.launch("ping")
    eventually(lambda: room.model.requests, PATIENCE)
    room.instance.check("cancel", id)
    assert room.instance.task(id).status == "cancelled"
    assert [one for one in processes_of(room.instance.folder) if one.marks.get("BACKBURNER_TASK_ID") == id] == []
