"""Commands over all state directories of the user. No supervisor runs in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.ipc.machine.home_registry import register
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store import open_reading, open_store
from backburner.ipc.store.queue import Queue
from tests.supervisor.cli.conftest import Cli


@pytest.fixture
def projects(tmp_path: Path) -> list[Path]:
    """Two registered projects with one pending task each."""
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        home = Home(folder / ".backburner").prepare()
        store = open_store(home, DEFAULT_BACKGROUND_CONFIG, "command")
        Queue(store, DEFAULT_BACKGROUND_CONFIG).launch(LaunchInput(command=["true"], description=folder.name))
        store.close()
        register(home)
    return folders


def test_status_of_all_projects_has_a_line_for_each(cli: Cli, projects: list[Path]):
    lines = cli("status", "-A").out.splitlines()
    assert lines[0].split() == ["PROJECT", "SUPERVISOR", "RUNNING", "PENDING"]
    assert [line.split() for line in lines[1:]] == [[str(path), "not", "running", "0", "1"] for path in projects]


def test_status_of_all_projects_as_json_has_their_status_documents(cli: Cli, projects: list[Path]):
    documents = json.loads(cli("status", "--all-projects", "--json").out)
    assert [document["home"] for document in documents] == [str(path / ".backburner") for path in projects]
    assert all(document["keys"] for document in documents)


def test_list_of_all_projects_has_the_tasks_of_each(cli: Cli, projects: list[Path]):
    lines = [line.split() for line in cli("list", "-A").out.splitlines()]
    assert lines[0][:3] == ["ID", "STATUS", "PROJECT"]
    assert {tuple(line[1:3]) for line in lines[1:]} == {("pending", str(path)) for path in projects}
    tasks = json.loads(cli("list", "--all-projects", "--json").out)
    assert [task["description"] for task in tasks] == ["second", "first"]
    assert [task["home"] for task in tasks] == [str(path / ".backburner") for path in projects[::-1]]


def test_list_of_all_projects_takes_filters_and_a_limit(cli: Cli, projects: list[Path]):
    assert len(cli("list", "-A", "-q", "--limit", "1").out.splitlines()) == 1
    assert cli("list", "-A", "--status", "running").out == ""
    assert [task["description"] for task in cli("list", "-A", "--json", "--text", "first").json] == ["first"]
    lines = cli("list", "-A", "--sort", "-queued", "--columns", "id,status,task").out.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["second", "first"]


def test_list_of_all_projects_cannot_be_watched(cli: Cli, projects: list[Path]):
    assert cli("list", "-A", "--watch").code == 2


def test_broken_project_does_not_hide_the_others(cli: Cli, projects: list[Path]):
    (projects[0] / ".backburner" / "backburner.db").write_text("not a database, but longer than its header")
    done = cli("status", "-A")
    assert done.code == 0
    assert str(projects[1]) in done.out
    assert str(projects[1]) in cli("list", "-A").out
    assert f"{projects[0] / '.backburner'} was skipped" in done.err
    documents = json.loads(cli("status", "-A", "--json").out)
    assert "damaged" in documents[0]["error"]


def test_reading_another_project_writes_nothing_there(projects: list[Path]):
    home = Home(projects[0] / ".backburner")
    before = {path.name: path.stat().st_mtime_ns for path in home.folder.iterdir()}
    store = open_reading(home)
    assert len(store.tasks.unfinished(None)) == 1
    store.close()
    assert {path.name: path.stat().st_mtime_ns for path in home.folder.iterdir()} == before


def test_project_with_a_newer_database_is_skipped_with_the_reason(cli: Cli, projects: list[Path]):
    store = open_store(Home(projects[0] / ".backburner"), DEFAULT_BACKGROUND_CONFIG, "command")
    store._connection.execute("PRAGMA user_version = 99")  # type: ignore[attr-defined]
    store.close()
    assert "newer" in cli("status", "-A").err
