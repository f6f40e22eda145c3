from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Stage


def test_what_was_exported_is_imported_into_another_home(cli: Cli, stage: Stage, tmp_path: Path):
    ids = [stage.ended(), stage.ended(TaskStatus.ERROR, description="日本"), stage.pending()]
    (tmp_path / "tasks.json").write_text(cli("export").out)
    other = ("--home", str(tmp_path / "other"))
    assert cli(*other, "import", "--json", "tasks.json").json == {"added": 3, "skipped": 0}
    found = cli(*other, "list", "--json").json
    assert [(task["id"], task["status"]) for task in found[::-1]] == list(
        zip(ids, ("completed", "error", "pending"), strict=True)
    )
    assert cli(*other, "import", "tasks.json").out == "imported 0 added, 3 skipped\n"


def test_the_seeds_own_format_is_written_and_read(cli: Cli, stage: Stage, tmp_path: Path):
    id = stage.ended()
    seed = cli("export", "--seed").out
    json.loads(seed)
    said = cli("--home", str(tmp_path / "other"), "import", "-", stdin=seed.encode())
    assert said.code == 0, said.err
    assert cli("--home", str(tmp_path / "other"), "show", "--json", id).json["status"] == "completed"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tasks": 1}'])
def test_what_is_no_export_is_refused_and_changes_nothing(cli: Cli, stage: Stage, tmp_path: Path, text: str):
    stage.pending()
    (tmp_path / "file").write_text(text)
    said = cli("import", "file")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert len(cli("list", "--json").json) == 1


def test_a_file_that_is_not_there_is_a_usage_error(cli: Cli):
    assert cli("import", "nowhere").code == 2


def test_nothing_young_is_pruned(cli: Cli, stage: Stage):
    stage.ended()
    assert cli("prune", "--json").json == {"tasks": 0, "events": 0, "files": 0}
    assert len(cli("list", "--json").json) == 1


def test_clearing_forgets_everything_and_goes_on_with_the_numbers(cli: Cli, stage: Stage):
    stage.ended(parent_session_id="me")
    stage.pending()
    before = cli("status", "--json").json["log"]["lastSeq"]
    assert cli("clear", "--yes", "--json").json["tasks"] == 2
    assert cli("list", "--json").json == []
    stage.ended(parent_session_id="me")
    assert cli("status", "--json").json["log"]["lastSeq"] > before


@pytest.mark.parametrize("words", [("prune",), ("clear", "--yes")])
def test_where_nothing_was_launched_there_is_nothing_to_forget(cli: Cli, home: Path, words: tuple[str, ...]):
    assert cli(*words).code == 0
    assert list(home.iterdir()) == []
