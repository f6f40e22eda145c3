from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import backburner
from tests.supervisor.cli.processes import stdout_of


def test_reload_applies_changed_settings(supervised: Path):
    (supervised / "config.toml").write_text("[model_concurrency]\nopus = 9\n")
    stdout_of(supervised, "reload")
    keys = json.loads(stdout_of(supervised, "status", "--json"))["keys"]
    assert next(key["limit"] for key in keys if key["key"] == "opus") == 9
    (supervised / "config.toml").write_text("max_workers = 0\n")
    done = backburner(supervised, "reload")
    assert done.returncode == 100
    assert "max_workers" in done.stderr


def test_reload_reports_mistakes_in_files_that_only_the_supervisor_reads(
    supervised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "backburner.toml").write_text("max_workers = 0\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "backburner.toml").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = backburner(supervised, "reload")
    assert (done.returncode, str(tmp_path / "backburner.toml") in done.stderr) == (100, True)
    (tmp_path / "backburner.toml").write_text("max_workers = 3\n")
    stdout_of(supervised, "reload")
