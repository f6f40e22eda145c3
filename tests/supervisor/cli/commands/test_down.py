from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import backburner
from tests.supervisor.cli.processes import launch_running, show, stdout_of


def test_down_names_the_tasks_that_keep_running(home: Path, no_strays: None):
    (home / "config.toml").write_text("shutdown_grace_s = 0.1\n")
    stdout_of(home, "up", "--detach")
    id = launch_running(home)
    down = backburner(home, "down")
    assert down.returncode == 0
    first, second, *_ = down.stderr.splitlines()
    assert first == "backburner: waiting up to 100 ms for 1 running task; to end them: backburner down --now"
    assert second.startswith(f"backburner:   {id[3:11]} ")
    assert f"task {id[3:11]} is still running" in down.stderr
    assert show(home, id)["status"] == "running"
    assert backburner(home, "down").returncode == 4
    assert stdout_of(home, "cancel", id) == f"{id[3:11]} cancelled\n"  # by its worker
