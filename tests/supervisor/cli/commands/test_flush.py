from __future__ import annotations

import json
from pathlib import Path

from tests.supervisor.cli.conftest import Cli
from tests.supervisor.cli.processes import launch, stdout_of


def test_flush_sends_the_batch_before_the_window_ends(home: Path, no_strays: None):
    (home / "config.toml").write_text("notification_batch_window_ms = 600000\n")
    stdout_of(home, "up", "--detach")
    id = launch(home, "--parent", "me", "--", "true")
    stdout_of(home, "wait", id)
    stdout_of(home, "flush", "--parent", "me")
    printed = stdout_of(home, "listen", "--parent", "me", "--until-now", "--type", "background_tasks_batch")
    assert json.loads(printed)["count"] == 1
    stdout_of(home, "down")


def test_flush_needs_a_supervisor(cli: Cli):
    result = cli("flush")
    assert result.code == 4
    assert "backburner up --detach" in result.err
