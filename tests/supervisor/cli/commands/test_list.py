from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_list_on_a_terminal_has_colours_and_shows_100_tasks(home: Path, tasks: Tasks):
    tasks.ended(TaskStatus.ERROR)
    for _ in range(100):
        tasks.pending()
    with Terminal("list") as terminal:
        assert terminal.end() == 0
    assert "\x1b[33mpending" in terminal.text
    assert "error" not in terminal.plain
    assert len(terminal.plain.splitlines()) == 102
    assert "only the newest 100 tasks are shown; to show all: backburner list --limit 0" in terminal.plain
    with Terminal("list", "--limit", "0", variables={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert "error" in terminal.plain


def test_list_watch_redraws_after_a_change(home: Path, tasks: Tasks):
    id = tasks.running()
    with Terminal("list", "--watch") as terminal:
        terminal.see(f"{id[3:11]}  running")
        tasks.queue.complete(id)
        terminal.see(f"{id[3:11]}  completed")
        terminal.press(CTRL_C)
        assert terminal.end() == 130


def test_list_without_tasks_is_empty_and_creates_nothing(cli: Cli, home: Path):
    assert cli("list", "--json").json == []
    assert cli("list").out == ""
    assert [path.name for path in home.iterdir()] == []


def test_list_shows_all_statuses_newest_first(cli: Cli, tasks: Tasks):
    ids = [
        tasks.ended(),
        tasks.ended(TaskStatus.ERROR),
        tasks.ended(TaskStatus.CANCELLED),
        tasks.running(),
        tasks.pending(),
    ]
    found = cli("list", "--json").json
    assert [task["id"] for task in found] == ids[::-1]
    assert [task["status"] for task in found] == ["pending", "running", "cancelled", "error", "completed"]
    assert "prompt" not in found[0]


def test_list_filters_by_status_session_and_model(cli: Cli, tasks: Tasks):
    mine = tasks.pending(parent_session_id="me", model="opus")
    tasks.pending(parent_session_id="you", model="opus")
    tasks.ended(parent_session_id="me", model="haiku")
    assert [task["id"] for task in cli("list", "--json", "--parent", "me", "--status", "pending").json] == [mine]
    assert len(cli("list", "--json", "--model", "opus").json) == 2
    assert len(cli("list", "--json", "--limit", "1").json) == 1
    assert len(cli("list", "--json", "--limit", "0").json) == 3
    assert cli("list", "--status", "done").code == 2


def test_list_reads_many_pages(cli: Cli, tasks: Tasks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.supervisor.cli.commands.list.PAGE", 2)
    ids = [tasks.pending() for _ in range(5)]
    assert [task["id"] for task in cli("list", "--json").json] == ids[::-1]
    assert [task["id"] for task in cli("list", "--json", "--limit", "3").json] == ids[:1:-1]


def test_list_shows_what_a_pending_task_waits_for(cli: Cli, tasks: Tasks):
    blocker = tasks.pending(description="the first")
    tasks.pending(description="the second", after=(blocker,))
    tasks.pending(description="later", delay_ms=3_600_000)
    lines = cli("list").out.splitlines()
    assert lines[0].split()[-3:] == ["WAITS", "FOR", "TASK"]
    assert "delay until" in lines[1]
    assert "dependency" in lines[2]
    assert "supervisor" in lines[3]


def test_list_by_tag_shows_tasks_that_have_all_given_tags(cli: Cli):
    both = cli("launch", "--no-up", "--tag", "docs", "--tag", "nightly", "--", "true").out.strip()
    one = cli("launch", "--no-up", "--tag", "docs", "--", "true").out.strip()
    listed = [task["id"] for task in json.loads(cli("list", "--tag", "docs", "--json").out)]
    assert listed == [one, both]
    assert [task["id"] for task in json.loads(cli("list", "--tag", "docs", "--tag", "nightly", "--json").out)] == [both]
