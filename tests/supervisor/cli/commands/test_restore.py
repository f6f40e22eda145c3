from __future__ import annotations

from pathlib import Path

from tests.supervisor.cli.conftest import Cli, Tasks


def test_backup_is_restored_into_another_home(cli: Cli, tasks: Tasks, tmp_path: Path):
    id = tasks.ended()
    result = cli("backup", "saved", "--json")
    assert result.json == {"file": str(tmp_path / "saved"), "bytes": (tmp_path / "saved").stat().st_size}
    other = ("--home", str(tmp_path / "other"))
    assert cli(*other, "restore", "saved", "--json").json == {"file": str(tmp_path / "saved"), "lost": 0}
    assert [task["id"] for task in cli(*other, "list", "--json").json] == [id]
