from __future__ import annotations

from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_exported_tasks_are_imported_into_another_home(cli: Cli, tasks: Tasks, tmp_path: Path):
    ids = [tasks.ended(), tasks.ended(TaskStatus.ERROR, description="日本"), tasks.pending()]
    (tmp_path / "tasks.json").write_text(cli("export").out)
    other = ("--home", str(tmp_path / "other"))
    assert cli(*other, "import", "--json", "tasks.json").json == {"added": 3, "skipped": 0}
    found = cli(*other, "list", "--json").json
    assert [(task["id"], task["status"]) for task in found[::-1]] == list(
        zip(ids, ("completed", "error", "pending"), strict=True)
    )
    assert cli(*other, "import", "tasks.json").out == "imported 0 tasks, skipped 3\n"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tasks": 1}'])
def test_import_refuses_any_other_document_and_changes_nothing(cli: Cli, tasks: Tasks, tmp_path: Path, text: str):
    tasks.pending()
    (tmp_path / "file").write_text(text)
    result = cli("import", "file")
    assert result.code == 2
    assert "Traceback" not in result.err
    assert len(cli("list", "--json").json) == 1


def test_import_of_a_missing_file_is_a_usage_error(cli: Cli):
    assert cli("import", "nowhere").code == 2
