"""Real agents from their registries, with a model on loopback."""

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

#: Seconds. Agents on Node.js take half a minute to start on a busy machine.
TIMEOUT = 240.0
pytestmark = pytest.mark.timeout(600)


class Traits(NamedTuple):
    """The differences between agents."""

    #: The model that the task names; None for the agent's default.
    model: str | None
    #: The tool that writes a file `a.txt` in its folder, and its arguments.
    write: Any = None


def _path(name: str, **more: str) -> Any:
    return lambda folder: {name: f"{folder}/a.txt", **more}


TRAITS = {
    "claude": Traits(None, ("Write", _path("file_path", content="hello"))),
    "codex": Traits("gpt-5", ("exec_command", lambda _folder: {"cmd": "printf hello > a.txt"})),
    "opencode": Traits("mock/m", ("write", _path("filePath", content="hello"))),
    "gemini": Traits("gemini-2.5-flash", ("write_file", _path("file_path", content="hello"))),
    "qwen": Traits("m", ("write_file", _path("file_path", content="hello"))),
    "aider": Traits("openai/gpt-4o"),
    "llm": Traits("gpt-4o-mini"),
}
AGENTS = [pytest.param(name, marks=[needs(name), pytest.mark.xdist_group(name)], id=name) for name in TRAITS]
every_agent = pytest.mark.parametrize("setup", AGENTS, indirect=True)

#: A message about each failure contains one of these texts.
CAUSES = {
    401: ("invalid api key",),
    429: ("rate limit reached", "429"),
    500: ("internal server error", "high demand"),
}


class AgentSetup:
    """One agent with its home, its folder and the model that it uses."""

    def __init__(self, name: str, instance: Instance, folder: Path, model: Model) -> None:
        self.name, self.instance, self.model = name, instance, model
        self.traits = TRAITS[name]
        self.folder = folder / "work"
        self.folder.mkdir()
        self.env = write_settings(folder / "home", model.url)

    def launch(self, prompt: str, **fields: Any) -> str:
        """Launch a prompt for this agent, and return the task's id."""
        launch = {"prompt": prompt, "agent": self.name, "env": self.env, "cwd": str(self.folder), **fields}
        return self.instance.launch(**launch | ({"model": self.traits.model} if self.traits.model else {}))

    def ask(self, prompt: str, **fields: Any) -> Task:
        """Launch, and wait for the end."""
        return self.instance.until(self.launch(prompt, **fields))


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[Instance]:
    """Start a supervisor for all agents of this file."""
    project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
    (project / ".backburner").mkdir(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(project / "xdg-config"))
        with Instance(project / ".backburner") as instance:
            instance.timeout = TIMEOUT
            yield instance.up(kill_grace_s=5, polling_interval_ms=500)
            instance.down(now=True)
            try:
                eventually(lambda: not processes_of(instance.folder), message="all agents to be gone")
            finally:
                kill_processes_of(instance.folder)
        shutil.rmtree(project)


@pytest.fixture(scope="module")
def setups(shared_instance: Instance) -> Iterator[dict[str, AgentSetup]]:
    """Keep the setups that were used, because the first start of an agent in a home is the slowest."""
    found: dict[str, AgentSetup] = {}
    yield found
    for setup in found.values():
        setup.model.close()


@pytest.fixture
def setup(request: pytest.FixtureRequest, shared_instance: Instance, setups: dict[str, AgentSetup]) -> AgentSetup:
    """Return the setup of one agent."""
    name = request.param
    if name not in setups:
        folder = shared_instance.folder.parent / name
        folder.mkdir()
        setups[name] = AgentSetup(name, shared_instance, folder, Model())
    return setups[name]


@every_agent
def test_agent_returns_a_result_and_a_session(setup: AgentSetup):
    setup.model.now(Say("pong from mock"))
    task = setup.ask("ping for you")
    assert (task.status, task.error, task.result) == ("completed", None, "pong from mock")
    assert task.session_id
    assert any(request.count("ping for you") for request in setup.model.requests)


@every_agent
def test_follow_up_continues_the_session_of_its_task(setup: AgentSetup):
    setup.model.now(Say("pong from mock"))
    first = setup.ask("the word is abracadabra")
    setup.model.now(Say("it was abracadabra"))
    task = setup.instance.until(
        setup.instance.launch(prompt="what was it?", resume=first.id, env=setup.env, cwd=str(setup.folder))
    )
    assert (task.status, task.error, task.result) == ("completed", None, "it was abracadabra")
    assert (task.session_id, task.resumes) == (first.session_id, first.id)
    received = [request for request in setup.model.requests if request.count("what was it?")]
    assert any(request.count("the word is abracadabra") for request in received)


@every_agent
def test_slow_answer_is_waited_for(setup: AgentSetup):
    setup.model.now(Slow("one two three four", pause=0.2))
    task = setup.ask("count")
    assert (task.status, (task.result or "").split()) == ("completed", ["one", "two", "three", "four"])


@every_agent
def test_agent_changes_files_in_its_folder_without_permission_prompts(setup: AgentSetup):
    if setup.traits.write is None:
        pytest.skip(f"{setup.name} calls no tools")
    name, arguments = setup.traits.write
    setup.model.now(Call(name, arguments(setup.folder)), Say("written"))
    task = setup.ask("write a file")
    assert (task.status, task.result) == ("completed", "written")
    assert (setup.folder / "a.txt").read_text().strip() == "hello"
    (setup.folder / "a.txt").unlink()


@every_agent
@pytest.mark.parametrize("status", CAUSES)
def test_refusal_by_the_provider_is_an_error_with_a_cause(setup: AgentSetup, status: int):
    setup.model.now(Fail(status))
    task = setup.ask("ping")
    assert (task.status, task.result) == ("error", None)
    assert task.error_kind in ("exit", "failed")
    assert any(cause in (task.error or "") for cause in CAUSES[status]), task.error


@needs("opencode")
@pytest.mark.xdist_group("opencode")
@pytest.mark.parametrize("setup", ["opencode"], indirect=True)
def test_agent_that_waits_for_a_retry_times_out_with_the_cause(setup: AgentSetup):
    setup.model.now(Fail(429, retry_after=3600))
    task = setup.ask("ping", timeoutMs=60_000)
    assert (task.status, task.error_kind) == ("error", "timeout")
    assert "rate limit reached" in (task.error or "")


@every_agent
def test_cancel_of_an_agent_that_waits_for_its_model_leaves_no_process(setup: AgentSetup):
    setup.model.now(Hang())
    id = setup.launch("ping")
    eventually(lambda: setup.model.requests, TIMEOUT)
    setup.instance.check("cancel", id)
    assert setup.instance.task(id).status == "cancelled"
    assert [one for one in processes_of(setup.instance.folder) if one.marks.get("BACKBURNER_TASK_ID") == id] == []
