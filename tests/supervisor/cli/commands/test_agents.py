from __future__ import annotations

import tomllib
from pathlib import Path

from backburner.ipc.config.presets import presets
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
from backburner.supervisor.system.children import first_lines
from tests.supervisor.cli.conftest import Cli


def program(folder: Path, name: str, *lines: str) -> None:
    """Create a program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)


def test_agents_are_listed_with_installed_versions(cli: Cli, tmp_path: Path, monkeypatch):
    program(tmp_path / "bin", "claude", 'test "$1" = --version && echo "2.1.197 (Claude Code)"')
    program(tmp_path / "bin", "codex", 'echo "codex-cli 0.169.0"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    found = {one["name"]: one for one in cli("agents", "--json").json}
    assert set(found) == set(presets())
    assert (found["claude"]["installed"], found["claude"]["version"]) == (str(tmp_path / "bin" / "claude"), "2.1.197")
    assert found["codex"]["version"] == "0.169.0"
    assert (found["goose"]["tried"], found["goose"]["installed"], found["goose"]["version"]) == (None, None, None)
    lines = cli("agents").out.splitlines()
    assert any(line.split()[:3] == ["goose", "–", "untested"] for line in lines)


def test_program_that_never_answers_does_not_block_the_others(tmp_path: Path):
    program(tmp_path / "bin", "hanging", "exec sleep 1000")
    program(tmp_path / "bin", "quick", "echo quick 1.0")
    asked = [[str(tmp_path / "bin" / name), "--version"] for name in ("quick", "hanging", "quick", "missing")]
    assert first_lines(asked, 2.0) == ["quick 1.0", "", "quick 1.0", ""]


def test_agent_without_a_version_is_listed(cli: Cli, tmp_path: Path, monkeypatch):
    program(tmp_path / "bin", "claude", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (found,) = [one for one in cli("agents", "--json").json if one["name"] == "claude"]
    assert (found["installed"], found["version"]) == (str(tmp_path / "bin" / "claude"), None)


def test_agent_is_shown_as_equivalent_toml(cli: Cli, home: Path):
    for name in presets():
        shown = tomllib.loads(cli("agents", "show", name).out)
        assert BackgroundConfig.of(shown).agent(name) == DEFAULT_BACKGROUND_CONFIG.agent(name)
    (home / "config.toml").write_text(
        '[agents.codex]\nmodel = "mine"\n[agents.own]\ncommand = ["a", ["-m", "{model}"]]\n'
    )
    changed = BackgroundConfig.of(tomllib.loads(cli("agents", "show", "codex").out)).agent("codex")
    assert (changed.model, changed.result) == ("mine", DEFAULT_BACKGROUND_CONFIG.agent("codex").result)
    own = tomllib.loads(cli("agents", "show", "own").out)["agents"]["own"]
    assert own == {"command": ["a", ["-m", "{model}"]]}


def test_unknown_and_built_in_agents_cannot_be_shown(cli: Cli):
    assert cli("agents", "show", "no-such-agent").code == 2
    assert "is built in" in cli("agents", "show", "command").err
