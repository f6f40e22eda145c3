from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import stdout_of


def test_home_option_chooses_the_state_directory(cli: Cli, tmp_path: Path):
    other = tmp_path / "other"
    assert cli("--home", str(other), "status", "--json").json["home"] == str(other)


def test_home_writable_by_others_is_refused(cli: Cli, home: Path):
    home.chmod(0o777)
    result = cli("launch", "--", "true")
    assert result.code == 100
    assert "chmod go-w" in result.err


def test_home_that_is_a_file_is_refused(cli: Cli, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert cli("--home", str(tmp_path / "file"), "launch", "--", "true").code == 100


def test_file_that_is_no_database_is_refused_and_left_unchanged(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"no database" * 1000)
    result = cli("list")
    assert result.code == 100
    assert str(home) in result.err
    assert (home / "backburner.db").read_bytes() == b"no database" * 1000


def test_home_on_a_long_path_works(home: Path, no_strays: None, monkeypatch: pytest.MonkeyPatch):
    deep = home.parent / ("x" * 100) / ("y" * 100) / ".backburner"
    monkeypatch.setenv("BACKBURNER_HOME", str(deep))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.parent))
    stdout_of(deep, "up", "--detach")
    assert stdout_of(deep, "run", "--", "echo", "hi") == "hi\n"
    socket = json.loads(stdout_of(deep, "status", "--json"))["socket"]
    assert len(socket) < 104
    stdout_of(deep, "flush")
    stdout_of(deep, "down")


def test_commands_that_need_no_settings_warn_about_invalid_ones(cli: Cli, home: Path, tasks: Tasks):
    id = tasks.pending()
    (home / "config.toml").write_text("max_workers = 0\n")
    for words in (
        ("status",),
        ("list",),
        ("show", id),
        ("output", id),
        ("cancel", id),
        ("wait", "--timeout", "0"),
    ):
        result = cli(*words)
        assert result.code == 0, words
        assert "max_workers" in result.err
        assert "backburner config check" in result.err
