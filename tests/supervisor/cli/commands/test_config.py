from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, USER_ONLY, BackgroundConfig
from backburner.ipc.validation import DIALECT
from tests.supervisor.cli.conftest import Cli

MESSY = """\
max_workers = 7
[model_concurrency]
"anthropic/*" = 8
[agents."my.agent"]
command = ["x", "say \\"{prompt}\\"", "\\u007f"]
env = { "A.B" = "1" }
"""


@pytest.mark.usefixtures("no_user_settings")
def test_config_show_prints_equivalent_toml(cli: Cli, home: Path):
    (home / "config.toml").write_text(MESSY)
    out = cli("config", "show").out
    assert out.startswith(f"# {home / 'config.toml'}\n")
    shown = BackgroundConfig.of(tomllib.loads(out))
    assert shown == BackgroundConfig.of(tomllib.loads(MESSY))
    assert BackgroundConfig.of(cli("config", "show", "--json").json) == shown


@pytest.mark.usefixtures("no_user_settings")
def test_config_show_without_files_prints_the_defaults(cli: Cli):
    assert BackgroundConfig.of(tomllib.loads(cli("config", "show").out)) == DEFAULT_BACKGROUND_CONFIG


@pytest.mark.usefixtures("no_user_settings")
def test_config_check_reports_that_there_are_no_mistakes(cli: Cli, home: Path):
    assert cli("config", "check").code == 0
    (home / "config.toml").write_text(MESSY)
    result = cli("config", "check")
    assert (result.code, result.out) == (0, f"no mistakes in {home / 'config.toml'}\n")


def test_config_check_reports_all_mistakes_of_all_files(cli: Cli, home: Path, tmp_path: Path):
    (tmp_path / "backburner.toml").write_text('nope = 1\ndurability = "some"\n')
    (home / "config.toml").write_text("max_workers = \n")
    result = cli("config", "check")
    assert result.code == 100
    lines = result.out.splitlines()
    assert len(lines) == 3
    assert sum(str(tmp_path / "backburner.toml") in line for line in lines) == 2
    assert any(f"{home / 'config.toml'}:1" in line for line in lines)
    found = cli("config", "check", "--json").json
    assert {mistake["key"] for mistake in found} == {"nope", "durability", ""}
    assert all(mistake["file"] and mistake["expected"] for mistake in found)


def test_config_show_refuses_an_invalid_configuration(cli: Cli, home: Path):
    (home / "config.toml").write_text("max_workers = 0\n")
    assert cli("config", "show").code == 100


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the path of the project's file, in the folder of the test."""
    path = tmp_path / "backburner.toml"
    path.write_text("# mine\nmax_workers = 4  # cores\n")
    return path


def test_config_set_changes_the_project_file_and_keeps_its_comments(cli: Cli, project: Path):
    assert cli("config", "set", "max_workers", "8") == (0, "", "")
    assert project.read_text() == "# mine\nmax_workers = 8  # cores\n"
    cli("config", "set", "durability", "normal")
    cli("config", "set", "model_concurrency.local/*", "1")
    cli("config", "set", "pass_env", '["A", "B_*"]')
    assert tomllib.loads(project.read_text()) == {
        "max_workers": 8,
        "durability": "normal",
        "pass_env": ["A", "B_*"],
        "model_concurrency": {"local/*": 1},
    }
    assert cli("config", "get", "max_workers").out == "8\n"
    assert cli("config", "get", "model_concurrency.local/*", "--json").json == 1
    cli("config", "unset", "max_workers")
    assert project.read_text().startswith("# mine\n")
    assert cli("config", "get", "max_workers").out == "16\n"
    assert cli("config", "check").code == 0


@pytest.mark.usefixtures("no_user_settings")
def test_config_set_chooses_the_file_by_an_option(cli: Cli, home: Path, project: Path):
    before = project.read_text()
    cli("config", "set", "--in-home", "max_workers", "2")
    assert (home / "config.toml").read_text() == "max_workers = 2\n"
    assert (home / "config.toml").stat().st_mode & 0o777 == 0o600
    cli("config", "set", "--user", "on_batch", '["notify"]')
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    assert user.read_text() == 'on_batch = ["notify"]\n'
    assert project.read_text() == before
    assert cli("config", "set", "--user", "--in-home", "max_workers", "2").code == 2


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("max_workers", "0", "max_workers: expected a whole number from 1"),
        ("max_workers", "-1", "max_workers: expected a whole number from 1"),
        ("max_worker", "1", "did you mean max_workers?"),
        ("default_agent", "nobody", "default_agent: expected one of"),
        ("agents.mine.model", "x", "agents.mine.command: expected"),
        ("on_batch", '["x"]', "only in the user's own file"),
        ("model_concurrency.", "1", "is not the name of a setting"),
    ],
)
def test_config_set_refuses_a_mistake_and_leaves_the_file(cli: Cli, project: Path, name: str, value: str, why: str):
    before = project.read_text()
    result = cli("config", "set", name, value)
    assert result.code == 2
    assert why in result.err
    assert project.read_text() == before


def test_config_set_refuses_a_broken_file(cli: Cli, project: Path):
    project.write_text("max_workers = \n")
    assert cli("config", "set", "max_workers", "2").code == 100
    assert project.read_text() == "max_workers = \n"


def test_config_set_keeps_a_link_and_the_permissions(cli: Cli, project: Path, tmp_path: Path):
    target = tmp_path / "elsewhere.toml"
    project.rename(target)
    target.chmod(0o600)
    project.symlink_to(target)
    cli("config", "set", "max_workers", "2")
    assert project.is_symlink()
    assert target.read_text().startswith("# mine\nmax_workers = 2")
    assert target.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"backburner.toml", "elsewhere.toml"}


def test_config_get_prints_settings_agents_and_tables(cli: Cli):
    assert cli("config", "get", "default_agent").out == "\n"
    assert cli("config", "get", "agents.claude.model").out == "sonnet\n"
    assert cli("config", "get", "model_concurrency").out == "opus = 2\nsonnet = 3\nhaiku = 5\n"
    result = cli("config", "get", "model_concurrency.nothing")
    assert (result.code, result.out) == (1, "")
    assert cli("config", "get", "max_worker").code == 2
    assert cli("config", "get", "agents.nobody").code == 2


def test_config_init_writes_every_setting_as_a_comment(cli: Cli, home: Path):
    path = home.parent / "backburner.toml"
    assert cli("config", "init", "--in-home").out == f"{home / 'config.toml'}\n"
    text = (home / "config.toml").read_text()
    assert tomllib.loads(text) == {"model_concurrency": {}}
    enabled = tomllib.loads(re.sub(r"(?m)^# ([a-z_]+ = |\[)", r"\1", text))
    defaults = DEFAULT_BACKGROUND_CONFIG.to_json()
    agents = enabled.pop("agents")
    assert agents == {"claude": {"model": "sonnet"}}
    assert enabled == {name: defaults[name] for name in enabled}
    assert set(defaults) - set(enabled) == {"agents", *USER_ONLY}
    assert cli("config", "init", "--in-home").code == 5
    assert not path.exists()
    assert cli("config", "init").out == f"{path}\n"


def test_config_edit_opens_the_editor_and_checks_the_file(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VISUAL", "sed -i 's/^# max_workers = 16/max_workers = 0/'")
    result = cli("config", "edit", "--in-home")
    assert result.code == 100
    assert "max_workers: expected a whole number" in result.out
    monkeypatch.setenv("VISUAL", "sed -i 's/^max_workers = 0/max_workers = 5/'")
    assert cli("config", "edit", "--in-home").code == 0
    assert cli("config", "get", "max_workers").out == "5\n"


def test_config_schema_describes_the_file(cli: Cli):
    schema = cli("config", "schema").json
    assert schema["$schema"] == DIALECT
    assert set(schema["properties"]) == set(DEFAULT_BACKGROUND_CONFIG.to_json())
