"""The progress of agents while they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.instance import Instance
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

CHATTY = """
progress_interval_ms = 50
kill_grace_s = 1
[agents.chatty]
command = [
  "sh", "-c", 'echo "$0"; until test -e go; do sleep 0.05; done; echo "$1"', '{"say": "first"}', '{"say": "last"}'
]
progress = { message = ["jsonl:say"] }
"""


@pytest.fixture
def instance(supervised: Path) -> Iterator[Instance]:
    (supervised / "config.toml").write_text(CHATTY)
    with Instance(supervised) as instance:
        instance.check("reload")
        yield instance


def test_progress_of_an_agent_is_reported_while_it_runs_and_at_its_end(instance: Instance, tmp_path: Path):
    id = instance.check("launch", "--agent", "chatty", "--parent", "p", "--cwd", str(tmp_path), "x").strip()
    eventually(lambda: instance.task(id).progress == "first", instance.timeout)
    assert "first" in instance.check("list")
    assert "first" in instance.check("show", id)
    (tmp_path / "go").touch()
    assert instance.until(id).progress == "last"
    events = [event for event in instance.events("p") if event["type"] == "background_task_progress"]
    assert [(event["taskId"], event["progress"]) for event in events][:1] == [(id, "first")]


def test_number_of_progress_events_is_limited(home: Path):
    with QueueDatabase(home) as queue_db:
        id = queue_db.launch(parent_session_id="p")
        claimed = queue_db.start(id)
        for step in range(50):
            queue_db.queue.progress(id, f"step {step}")
        queue_db.queue.record_progress(claimed.number, claimed.claim, "the last step")
        assert queue_db.get(id).progress == "the last step"
        assert 1 <= queue_db.event_types("p").count("background_task_progress") < 25


def test_progress_of_an_earlier_attempt_is_ignored(home: Path):
    with QueueDatabase(home) as queue_db:
        id = queue_db.launch(parent_session_id="p")
        claimed = queue_db.start(id)
        queue_db.queue.record_progress(claimed.number, claimed.claim - 1, "of another attempt")
        assert (queue_db.get(id).progress, queue_db.event_types("p")) == (None, ["background_task_started"])
