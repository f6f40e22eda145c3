"""An adoption that is killed at its commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.failpoints import WATCH
from tests.helpers.commands import backburner
from tests.ipc.store.test_sessions import batched, receive, reported


@pytest.mark.parametrize("edge", ["before", "after"])
def test_adoption_killed_at_its_commit_happens_once_when_repeated(queue_db, home, monkeypatch, tmp_path, edge):
    ids = [batched(queue_db, "P"), queue_db.run(parent_session_id="P")]
    running = queue_db.start(queue_db.launch(parent_session_id="P"))
    order_kill(tmp_path, f"command database.commit@_Write._finish<_Write.__exit__<SqliteSessions.adopt {edge}")
    monkeypatch.setenv(WATCH, str(tmp_path))
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == -9
    assert (reported(queue_db, "Q") == []) is (edge == "before")
    (tmp_path / "order").unlink()
    assert backburner(home, "adopt", "--from", "P", "--to", "Q").returncode == 0
    queue_db.settle(running)
    queue_db.log.form_batch("Q", 5)
    assert receive(queue_db, "Q") == [*ids, running.id]
    assert receive(queue_db, "P") == []


def order_kill(folder: Path, failpoint: str) -> None:
    """Kill the first process that reaches a failpoint."""
    (folder / "order").write_text(json.dumps({"token": "adopt", "kill": failpoint, "nth": 1}))
