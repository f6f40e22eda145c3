from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Stage


def test_no_command_is_status_and_needs_neither_a_supervisor_nor_a_home(cli: Cli, home: Path):
    said = cli()
    assert said.code == 0
    assert str(home) in said.out
    assert "not running" in said.out
    assert [path.name for path in home.iterdir()] == []


def test_the_status_document_has_the_agreed_fields(cli: Cli, home: Path, stage: Stage):
    id = stage.running(concurrency_key="opus")
    stage.pending(concurrency_key="opus")
    found = cli("status", "--json").json
    assert set(found) == {
        "supervisor", "flusher", "forkServer", "workers", "keys", "log", "home", "socket", "version", "sqlite",
    }  # fmt: skip
    assert found["supervisor"] is found["flusher"] is found["forkServer"] is None
    assert found["keys"] == [{"key": "opus", "limit": 2, "running": 1, "pending": 1, "paused": False}]
    assert found["log"]["lastSeq"] == 1
    assert found["home"] == str(home)
    assert stage.task(id).status is TaskStatus.RUNNING


def test_a_list_is_empty_where_nothing_was_launched(cli: Cli, home: Path):
    assert cli("list", "--json").json == []
    assert cli("list").out == ""
    assert [path.name for path in home.iterdir()] == []


def test_a_list_shows_all_statuses_the_newest_first(cli: Cli, stage: Stage):
    ids = [
        stage.ended(),
        stage.ended(TaskStatus.ERROR),
        stage.ended(TaskStatus.CANCELLED),
        stage.running(),
        stage.pending(),
    ]
    found = cli("list", "--json").json
    assert [task["id"] for task in found] == ids[::-1]
    assert [task["status"] for task in found] == ["pending", "running", "cancelled", "error", "completed"]
    assert "prompt" not in found[0]


def test_a_list_is_narrowed_by_status_parent_and_model(cli: Cli, stage: Stage):
    mine = stage.pending(parent_session_id="me", model="opus")
    stage.pending(parent_session_id="you", model="opus")
    stage.ended(parent_session_id="me", model="haiku")
    assert [task["id"] for task in cli("list", "--json", "--parent", "me", "--status", "pending").json] == [mine]
    assert len(cli("list", "--json", "--model", "opus").json) == 2
    assert len(cli("list", "--json", "--limit", "1").json) == 1
    assert len(cli("list", "--json", "--limit", "0").json) == 3
    assert cli("list", "--status", "done").code == 2


def test_a_list_goes_over_many_pages(cli: Cli, stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.supervisor.cli.commands.list.PAGE", 2)
    ids = [stage.pending() for _ in range(5)]
    assert [task["id"] for task in cli("list", "--json").json] == ids[::-1]
    assert [task["id"] for task in cli("list", "--json", "--limit", "3").json] == ids[:1:-1]


def test_the_table_says_what_a_pending_task_waits_for(cli: Cli, stage: Stage):
    blocker = stage.pending(description="the first")
    stage.pending(description="the second", after=(blocker,))
    stage.pending(description="later", delay_ms=3_600_000)
    lines = cli("list").out.splitlines()
    assert lines[0].split()[-3:] == ["WAITS", "FOR", "TASK"]
    assert "delay until" in lines[1]
    assert "dependency" in lines[2]
    assert "supervisor" in lines[3]


def test_an_id_is_shown_as_8_digits_and_any_unique_part_of_its_start_will_do(cli: Cli, stage: Stage):
    id = stage.pending()
    shown = cli("list").out.splitlines()[1].split()[0]
    assert shown == id[3:11]
    for given in (shown, id, id[:9], id[3:5], "-"):
        assert cli("show", "--json", given).json["id"] == id


def test_the_dash_is_the_task_that_was_launched_last(cli: Cli, stage: Stage):
    stage.pending()
    last = stage.pending()
    assert cli("show", "--json", "-").json["id"] == last


def test_an_ambiguous_id_is_a_usage_error_and_an_unknown_one_is_no_such_task(cli: Cli, stage: Stage):
    for _ in range(17):  # two of them begin with the same digit
        stage.pending()
    ids = [task["id"] for task in cli("list", "--json").json]
    first = next(id[3] for id in ids if sum(other[3] == id[3] for other in ids) > 1)
    assert cli("show", first).code == 2
    assert cli("show", "zzzz").code == 3
    assert cli("show", "").code == 2


def test_without_any_task_every_id_is_unknown(cli: Cli):
    for words in (
        ("show", "1"),
        ("output", "-"),
        ("cancel", "1"),
        ("retry", "1"),
        ("wait", "1"),
        ("complete", "1"),
    ):
        assert cli(*words).code == 3, words


def test_showing_a_task_tells_what_is_known_of_it(cli: Cli, stage: Stage):
    id = stage.ended(TaskStatus.ERROR, description="two\nlines", metadata={"a": 1})
    out = cli("show", id).out
    assert f"id               {id}\n" in out
    assert "error            no\n" in out
    assert 'metadata         {"a": 1}\n' in out
    assert cli("show", "--json", id).json["prompt"] == "look after it"


def test_a_command_that_needs_nothing_of_a_broken_configuration_goes_on_with_a_warning(
    cli: Cli, home: Path, stage: Stage
):
    id = stage.pending()
    (home / "config.toml").write_text("max_workers = 0\n")
    for words in (
        ("status",),
        ("list",),
        ("show", id),
        ("output", id),
        ("cancel", id),
        ("wait", "--timeout", "0"),
    ):
        said = cli(*words)
        assert said.code == 0, words
        assert "max_workers" in said.err
        assert "backburner config check" in said.err


def test_the_output_of_a_task_is_read_byte_for_byte(cli: Cli, stage: Stage):
    id = stage.ended()
    assert cli("output", id).out == ""
    assert json.loads(cli("output", "--json", id).out) == {"data": "", "offset": 0, "eof": True}
