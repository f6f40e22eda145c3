from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import backburner
from tests.supervisor.cli.processes import launch, stdout_of


def test_up_option_starts_a_supervisor(home: Path, no_strays: None):
    first = backburner(home, "run", "--up", "--", "echo", "hi")
    assert (first.returncode, first.stdout) == (0, "hi\n")
    assert backburner(home, "run", "--up", "--", "true").returncode == 0
    stdout_of(home, "down")


def test_autostart_starts_a_supervisor(home: Path, no_strays: None):
    (home / "config.toml").write_text("autostart = true\n")
    id = launch(home, "--", "true")
    assert backburner(home, "wait", id).returncode == 0
    stdout_of(home, "down")
