from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
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
