"""An agent that does not exit: it lives in a terminal, and has ended when its screen stands still."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clis import needs, write_settings
from tests.helpers.instance import Instance
from tests.helpers.model import Model, Slow

#: Types the prompt into an agent's terminal, and shows what is written there, for ever.
TERMINAL = """
talk() { tmux -S "$PWD/tmux" -f /dev/null "$@"; }
talk new-session -d -x 100 -y 30 "llm chat -m gpt-4o-mini"
until talk capture-pane -p | grep -q "^>"; do sleep 0.1; done
talk pipe-pane "cat >>'$PWD/screen'"
talk send-keys -l "$1"
talk send-keys Enter
until test -e screen; do sleep 0.1; done
exec tail -f screen
"""
AGENT = {"command": ["sh", "-c", TERMINAL, "terminal", "{prompt}"], "completion": "stable"}


@pytest.fixture
def instance(home: Path, no_strays: None) -> Iterator[Instance]:
    with Instance(home) as instance:
        instance.timeout = 240
        brisk = {"polling_interval_ms": 500, "stability_threshold": 3, "min_stability_time_ms": 5000, "kill_grace_s": 2}
        instance.up(**brisk, agents={"terminal": AGENT})
        yield instance
        instance.down(now=True)


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
@needs("llm")
def test_llm_in_a_terminal_has_ended_when_its_screen_stands_still(instance: Instance, tmp_path: Path):
    with Model(Slow("one two three four", pause=1)) as model:
        env = write_settings(tmp_path / "home", model.url)
        id = instance.launch(prompt="count slowly", agent="terminal", env=env, cwd=str(tmp_path))
        task = instance.until(id)
        assert [request.count("count slowly") for request in model.requests] == [1]
    assert (task.status, task.error) == ("completed", None)
    assert all(word in (task.result or "") for word in ("one", "two", "three", "four"))
