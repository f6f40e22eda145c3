"""How far agents are, while they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.stage import Stage
from tests.helpers.wait import eventually
from tests.helpers.yard import Yard

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
def stage(supervised: Path) -> Iterator[Stage]:
    (supervised / "config.toml").write_text(CHATTY)
    with Stage(supervised) as stage:
        stage.say("reload")
        yield stage


def test_what_an_agent_says_is_told_while_it_runs_and_at_its_end(stage: Stage, tmp_path: Path):
    id = stage.say("launch", "--agent", "chatty", "--parent", "p", "--cwd", str(tmp_path), "x").strip()
    eventually(lambda: stage.task(id).progress == "first", stage.patience)
    assert "first" in stage.say("list")
    assert "first" in stage.say("show", id)
    (tmp_path / "go").touch()
    assert stage.until(id).progress == "last"
    told = [event for event in stage.events("p") if event["type"] == "background_task_progress"]
    assert [(event["taskId"], event["progress"]) for event in told][:1] == [(id, "first")]


def test_events_of_progress_are_no_flood(home: Path):
    with Yard(home) as yard:
        id = yard.launch(parent_session_id="p")
        claimed = yard.start(id)
        for step in range(50):
            yard.queue.progress(id, f"step {step}")
        yard.queue.record_progress(claimed.number, claimed.claim, "the last step")
        assert yard.get(id).progress == "the last step"
        assert 1 <= yard.told("p").count("background_task_progress") < 25


def test_a_try_that_is_over_tells_nothing_of_the_next(home: Path):
    with Yard(home) as yard:
        id = yard.launch(parent_session_id="p")
        claimed = yard.start(id)
        yard.queue.record_progress(claimed.number, claimed.claim - 1, "of another try")
        assert (yard.get(id).progress, yard.told("p")) == (None, ["background_task_started"])
