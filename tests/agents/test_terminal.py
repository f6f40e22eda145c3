"""An agent that runs in a terminal and never exits completes when its screen is stable."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clis import needs, write_settings
from tests.helpers.instance import Instance
from tests.helpers.model import Model, Slow

#: Types the prompt into an agent's terminal, and prints what appears there until it is killed.
TERMINAL = """
in_tmux() { tmux -S "$PWD/tmux" -f /dev/null "$@"; }
in_tmux new-session -d -x 100 -y 30 "llm chat -m gpt-4o-mini"
until in_tmux capture-pane -p | grep -q "^>"; do sleep 0.1; done
in_tmux pipe-pane "cat >>'$PWD/screen'"
in_tmux send-keys -l "$1"
in_tmux send-keys Enter
until test -e screen; do sleep 0.1; done
exec tail -f screen
"""
AGENT = {"command": ["sh", "-c", TERMINAL, "terminal", "{prompt}"], "completion": "stable"}


@pytest.fixture
def instance(home: Path, no_strays: None) -> Iterator[Instance]:
    with Instance(home) as instance:
        instance.timeout = 240
        settings = {
            "polling_interval_ms": 500,
            "stability_threshold": 3,
            "min_stability_time_ms": 5000,
            "kill_grace_s": 2,
        }
        instance.up(**settings, agents={"terminal": AGENT})
        yield instance
        instance.down(now=True)


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@needs("llm")
def test_llm_in_a_terminal_completes_when_its_screen_is_stable(instance: Instance, tmp_path: Path):
    with Model(Slow("one two three four", pause=1)) as model:
        env = write_settings(tmp_path / "home", model.url)
        id = instance.launch(prompt="count slowly", agent="terminal", env=env, cwd=str(tmp_path))
        task = instance.until(id)
        assert [request.count("count slowly") for request in model.requests] == [1]
    assert (task.status, task.error) == ("completed", None)
    assert all(word in (task.result or "") for word in ("one", "two", "three", "four"))
