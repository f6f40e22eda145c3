"""Follow-ups: tasks that continue the session of an ended task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.api.manager import BackgroundManager
from backburner.ipc.bus.client import Client
from backburner.ipc.errors import InvalidInput, MoveNotAllowed, NotFound
from backburner.ipc.model.task import Task
from backburner.supervisor.cli.commands.config import toml_lines
from tests.helpers.instance import Instance
from tests.helpers.queue_db import QueueDatabase

#: An agent that reports its session and its prompt; one that cannot continue; one that is given its session.
AGENTS = {
    "parrot": {
        "command": [
            "sh",
            "-c",
            'printf \'{"session": "s-%s", "text": "%s"}\' "$0" "$1"',
            "{uuid}",
            "{prompt} ({model})",
        ],
        "resume": ["printf", '{"text": "%s"}', "{session}: {prompt} ({model})"],
        "result": "json:text",
        "session": "json:session",
        "model": "small",
    },
    "forgetful": {"command": ["echo", "{prompt}"]},
    "named": {"command": ["sleep", "{prompt}"], "resume": ["echo", "{session}"], "session": "{uuid}"},
}


@pytest.fixture(scope="module")
def instance(shared_home: Path) -> Iterator[Instance]:
    """Start a supervisor with these agents for all tests of this file."""
    (shared_home / "config.toml").write_text(_toml())
    with Instance(shared_home) as instance:
        yield instance.up()
        instance.down(now=True)


def _toml() -> str:
    return "\n".join(toml_lines({"kill_grace_s": 1, "agents": AGENTS}))


def ended(instance: Instance, *words: str) -> Task:
    return instance.until(instance.check("launch", *words).strip())


def test_follow_up_takes_agent_model_folder_parent_and_session_of_its_task(instance: Instance, tmp_path: Path):
    first = ended(instance, "--agent", "parrot", "--model", "big", "--parent", "ses-1", "--cwd", str(tmp_path), "hello")
    assert (first.result, first.resumes) == ("hello (big)", None)
    assert first.session_id and first.session_id.startswith("s-")
    task = ended(instance, "--resume", first.id[3:11], "and now?")
    assert task.result == f"{first.session_id}: and now? (big)"
    assert (task.resumes, task.session_id) == (first.id, first.session_id)
    same = ("agent", "model", "concurrency_key", "cwd", "parent_session_id")
    assert [getattr(task, name) for name in same] == [getattr(first, name) for name in same]
    assert f"resumes          {first.id}" in instance.check("show", task.id)


def test_options_of_a_follow_up_override_those_of_its_task(instance: Instance, tmp_path: Path):
    first = ended(instance, "--agent", "parrot", "--key", "mine", "--parent", "ses-1", "hello")
    task = ended(instance, "--resume", first.id, "--model", "big", "--parent", "ses-2", "--cwd", str(tmp_path), "now")
    assert (task.model, task.concurrency_key, task.parent_session_id, task.cwd) == (
        "big",
        "big",
        "ses-2",
        str(tmp_path),
    )
    again = ended(instance, "--resume", task.id, "again")
    assert again.result == f"{first.session_id}: again (big)"


def test_follow_up_can_be_launched_from_python_and_over_the_socket(instance: Instance):
    with BackgroundManager(instance.folder) as manager:
        first = manager.launch(prompt="hello", agent="parrot", cwd="/")
        (done,) = manager.wait(first.id, timeout=50)
        task = manager.launch(prompt="now", resume=first.id)
        assert (task.cwd, task.resumes, task.session_id) == ("/", first.id, done.session_id)
    with Client(instance.home) as client:
        document = client.call("launch", prompt="now", resume=first.id)
    assert (document["cwd"], document["resumes"], document["sessionId"]) == ("/", first.id, done.session_id)


def test_line_of_a_task_file_can_be_a_follow_up(instance: Instance, tmp_path: Path):
    first = ended(instance, "--agent", "parrot", "--cwd", "/", "hello")
    (tmp_path / "tasks").write_text(json.dumps({"prompt": "now", "resume": first.id}))
    task = ended(instance, "--from-file", str(tmp_path / "tasks"))
    assert (task.cwd, task.result) == ("/", f"{first.session_id}: now (small)")


def test_session_of_a_cancelled_or_timed_out_task_can_be_continued(instance: Instance):
    id = instance.check("launch", "--agent", "named", "1000").strip()
    instance.pid(id)
    instance.check("cancel", id)
    late = ended(instance, "--agent", "named", "--timeout", "100ms", "1000")
    for task in (instance.task(id), late):
        assert task.session_id
        assert ended(instance, "--resume", task.id, "x").result == task.session_id


def test_impossible_follow_up_is_refused_with_the_reason(instance: Instance):
    forgetful = ended(instance, "--agent", "forgetful", "x")
    running = instance.check("launch", "--agent", "named", "1000").strip()
    instance.pid(running)
    for words, code, why in [
        ((forgetful.id, "x"), 5, "forgetful cannot continue a session"),
        ((running, "x"), 5, "has not ended (running)"),
        (("bg-unknown", "x"), 3, "bg-unknown"),
        ((forgetful.id, "--", "true"), 2, "only a prompt can continue a session"),
        ((forgetful.id, "--no-parent", "x"), 2, "--no-parent cannot be combined with --resume"),
    ]:
        done = instance.run("launch", "--resume", *words)
        assert (done.returncode, why in done.stderr) == (code, True), done.stderr


def test_task_that_reported_no_session_cannot_be_continued(home: Path):
    with QueueDatabase(home, agents=AGENTS) as queue_db:
        first = queue_db.run(prompt="x", agent="parrot")
        with pytest.raises(MoveNotAllowed, match="reported none"):
            queue_db.launch(prompt="y", resume=first)
        with pytest.raises(NotFound):
            queue_db.launch(prompt="y", resume="bg-nothing")
        with pytest.raises(InvalidInput, match="cannot continue a session of parrot"):
            queue_db.launch(prompt="y", resume=first, agent="named")


def test_retry_of_a_follow_up_continues_the_session(home: Path):
    with QueueDatabase(home, agents=AGENTS) as queue_db:
        id = queue_db.launch(prompt="x", agent="parrot")
        queue_db.settle(queue_db.start(id, "small"), session="s-1")
        follow = queue_db.launch(prompt="y", resume=id, retries=1)
        assert queue_db.start(follow, "small").session == "s-1"
        plain = queue_db.launch(prompt="z", agent="parrot", retries=1)
        assert queue_db.claim("small", slot=1) is not None
        assert queue_db.get(plain).resumes is None


def test_export_and_import_keep_the_link_of_a_follow_up(instance: Instance, tmp_path: Path):
    first = ended(instance, "--agent", "parrot", "hello")
    task = ended(instance, "--resume", first.id, "now")
    document = instance.check("export")
    with QueueDatabase(tmp_path / "other") as queue_db:
        (tmp_path / "export.json").write_text(document)
        assert Instance(queue_db.home.folder).run("import", str(tmp_path / "export.json")).returncode == 0
        assert (queue_db.get(task.id).resumes, queue_db.get(task.id).session_id) == (first.id, first.session_id)
