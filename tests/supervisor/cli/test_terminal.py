from __future__ import annotations

from pathlib import Path

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Stage
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_a_launch_on_a_terminal_says_why_the_task_waits(home: Path):
    with Terminal("launch", "--", "true") as terminal:
        assert terminal.end() == 0
    first, second = terminal.plain.splitlines()
    assert first.startswith("bg-")
    assert second == (f"backburner: pending: no supervisor is running for {home}; start one: backburner up --detach")


def test_a_launch_on_a_terminal_says_when_a_delay_and_a_pause_are_over(home: Path, stage: Stage):
    with Terminal("launch", "--delay", "1h", "--", "true") as terminal:
        terminal.see(r"pending: starts in (1 h|59 m \d+ s|1 h 0 m), at \d")
    with Terminal("pause", "k") as terminal:
        assert terminal.end() == 0
    with Terminal("launch", "--key", "k", "--", "true") as terminal:
        terminal.see("pending: 'k' is paused; to resume it: backburner resume 'k'")
    blocker = stage.pending()
    with Terminal("launch", "--after", blocker, "--", "true") as terminal:
        terminal.see(f"pending: starts after {blocker[3:11]}")


def test_a_list_on_a_terminal_has_colours_and_ends_after_a_hundred(home: Path, stage: Stage):
    stage.ended(TaskStatus.ERROR)
    for _ in range(100):
        stage.pending()
    with Terminal("list") as terminal:
        assert terminal.end() == 0
    assert "\x1b[33mpending" in terminal.text
    assert "error" not in terminal.plain
    assert len(terminal.plain.splitlines()) == 102
    assert "only the newest 100 tasks are shown; to show all: backburner list --limit 0" in terminal.plain
    with Terminal("list", "--limit", "0", variables={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert "error" in terminal.plain


def test_a_list_that_is_watched_is_drawn_again_when_something_happens(home: Path, stage: Stage):
    id = stage.running()
    with Terminal("list", "--watch") as terminal:
        terminal.see(f"{id[3:11]}  running")
        stage.queue.complete(id)
        terminal.see(f"{id[3:11]}  completed")
        terminal.press(CTRL_C)
        assert terminal.end() == 130


def test_waiting_on_a_terminal_shows_a_bar_and_then_the_sentence(home: Path, stage: Stage):
    ids = [stage.running(), stage.running()]
    with Terminal("wait", *ids) as terminal:
        terminal.see(r"waiting .*0/2")
        stage.queue.complete(ids[0])
        terminal.see(r"1/2 .*completed")
        stage.queue.fail(ids[1], "no")
        assert terminal.end() == 1
    assert terminal.plain.endswith("2 background tasks finished: 1 completed, 1 failed.\n")


def test_events_on_a_terminal_are_sentences(home: Path, stage: Stage):
    id = stage.ended(TaskStatus.ERROR, parent_session_id="me")
    with Terminal("listen", "--parent", "me", "--until-now") as terminal:
        assert terminal.end() == 0
    assert f"{id[3:11]} started\n" in terminal.plain
    assert f"{id[3:11]} error: no\n" in terminal.plain
    with Terminal("listen", "--parent", "me", "--until-now", "--json") as terminal:
        assert terminal.end() == 0
    assert '"background_task_completed"' in terminal.plain


def test_an_interrupted_wait_is_told_apart(home: Path, stage: Stage):
    id = stage.running()
    with Terminal("wait", id) as terminal:
        terminal.see("waiting")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.plain
    assert stage.task(id).status is TaskStatus.RUNNING
