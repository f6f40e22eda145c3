"""`backup`, `restore` and `salvage` as they are typed."""

from __future__ import annotations

from pathlib import Path

from tests.supervisor.cli.conftest import Cli, Stage


def test_a_backup_is_restored_elsewhere(cli: Cli, stage: Stage, tmp_path: Path):
    id = stage.ended()
    said = cli("backup", "saved", "--json")
    assert said.json == {"file": str(tmp_path / "saved"), "bytes": (tmp_path / "saved").stat().st_size}
    other = ("--home", str(tmp_path / "other"))
    assert cli(*other, "restore", "saved", "--json").json == {"file": str(tmp_path / "saved"), "lost": 0}
    assert [task["id"] for task in cli(*other, "list", "--json").json] == [id]


def test_a_backup_and_a_restore_replace_nothing_unasked(cli: Cli, stage: Stage):
    stage.ended()
    assert cli("backup", "saved").code == 0
    refused = cli("backup", "saved")
    assert (refused.code, "backup --force" in refused.err) == (2, True)
    assert cli("backup", "--force", "saved").code == 0
    refused = cli("restore", "saved")
    assert (refused.code, "restore --yes" in refused.err) == (5, True)
    assert cli("restore", "--yes", "saved").code == 0


def test_there_is_no_backup_of_nothing(cli: Cli):
    assert cli("backup", "saved").code == 3


def test_a_damaged_database_is_named_with_what_mends_it(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    said = cli("list")
    assert said.code == 100
    assert f"{home / 'backburner.db'} is damaged" in said.err
    assert "backburner salvage" in said.err
    assert cli("launch", "--", "true").code == 100
    assert (home / "backburner.db").read_bytes() == b"rubbish" * 4000


def test_a_damaged_database_is_set_aside_and_the_home_works_again(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    said = cli("salvage", "--json").json
    assert (said["tasks"], Path(said["aside"]).read_bytes()) == (0, b"rubbish" * 4000)
    assert cli("launch", "--", "true").code == 0


def test_a_sound_database_is_not_salvaged(cli: Cli, stage: Stage):
    stage.ended()
    assert cli("salvage").code == 5
