from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import stdout_of


def test_home_option_chooses_the_state_directory(cli: Cli, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir(0o700)
    assert cli("--home", str(other), "status", "--json").json["home"] == str(other)
    link = tmp_path / "link"
    link.symlink_to(other)
    assert cli("--home", str(link), "status", "--json").json["home"] == str(other)


def test_home_option_of_a_reading_command_must_exist(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    missing = tmp_path / "typo"
    for words in ((), ("list",), ("status",), ("doctor",), ("wait",), ("cancel", "-")):
        result = cli("--home", str(missing), *words)
        assert (result.code, "no such folder" in result.err) == (2, True), words
    assert cli("--home", "", "list").code == 2
    monkeypatch.setenv("BACKBURNER_HOME", str(missing))
    assert cli("list").code == 0
    assert not missing.exists()


def test_home_option_refuses_a_folder_with_other_files(cli: Cli, tmp_path: Path):
    (tmp_path / "main.py").touch()
    result = cli("--home", str(tmp_path), "launch", "--", "true")
    assert result.code == 2
    assert f"did you mean --home {tmp_path}/.backburner?" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["main.py"]


def test_home_option_takes_an_empty_folder_and_a_home_with_other_files(cli: Cli, tmp_path: Path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "config.toml").write_text("")
    assert cli("--home", str(tmp_path), "launch", "--", "true").code == 0
    (tmp_path / "main.py").touch()
    assert cli("--home", str(tmp_path), "launch", "--", "true").code == 0


@pytest.fixture
def deleted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in a folder that does not exist any more."""
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()


@pytest.mark.usefixtures("deleted_folder")
def test_named_home_works_from_a_deleted_folder(cli: Cli, home: Path):
    for words in (
        ("list",),
        ("launch", "--cwd", "/", "--", "true"),
        ("config", "check"),
        ("config", "show"),
        ("status",),
    ):
        assert cli(*words).code == 0, words
        assert cli("--home", str(home), *words).code == 0, words
    result = cli("launch", "--", "true")
    assert (result.code, "--cwd" in result.err) == (2, True)


@pytest.mark.usefixtures("deleted_folder")
def test_command_without_a_home_in_a_deleted_folder_names_the_way_out(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BACKBURNER_HOME")
    for words in (("list",), ("launch", "--", "true"), ("config", "check"), ("doctor",)):
        result = cli(*words)
        assert (result.code, "--home DIR" in result.err) == (2 if words[0] == "launch" else 100, True), words


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
    assert len([*home.parent.glob("backburner-*/*")]) == 1
    stdout_of(deep, "down")
    assert [*home.parent.glob("backburner-*/*")] == []


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


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no folder in which root cannot create another one")
def test_home_that_cannot_be_created_names_the_settings_that_choose_another(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BACKBURNER_HOME", "/sys/.backburner")
    result = cli("launch", "--", "true")
    assert result.code == 100
    assert "--home DIR or BACKBURNER_HOME" in result.err
