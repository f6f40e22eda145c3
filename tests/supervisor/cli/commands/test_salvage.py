from __future__ import annotations

from pathlib import Path

from tests.supervisor.cli.conftest import Cli, Tasks


def test_error_about_a_damaged_database_names_salvage(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    result = cli("list")
    assert result.code == 100
    assert f"{home / 'backburner.db'} is damaged" in result.err
    assert "backburner salvage" in result.err
    assert cli("launch", "--", "true").code == 100
    assert (home / "backburner.db").read_bytes() == b"rubbish" * 4000


def test_salvage_replaces_a_damaged_database(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"rubbish" * 4000)
    result = cli("salvage", "--json").json
    assert (result["tasks"], Path(result["aside"]).read_bytes()) == (0, b"rubbish" * 4000)
    assert cli("launch", "--", "true").code == 0


def test_salvage_refuses_an_intact_database(cli: Cli, tasks: Tasks):
    tasks.ended()
    assert cli("salvage").code == 5
