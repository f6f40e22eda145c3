from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.cli.tables import display_width
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"
COMPLETED = TaskStatus.COMPLETED


def test_list_on_a_terminal_has_colours_and_shows_100_tasks(home: Path, tasks: Tasks):
    tasks.ended(TaskStatus.ERROR)
    for _ in range(100):
        tasks.pending()
    with Terminal("list") as terminal:
        assert terminal.end() == 0
    assert "\x1b[33mpending" in terminal.text
    assert "error" not in terminal.plain
    assert len(terminal.plain.splitlines()) == 102
    assert "only 100 tasks are shown; to show all: backburner list --all" in terminal.plain
    with Terminal("list", "--all", variables={"NO_COLOR": "1"}) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert "error" in terminal.plain


def test_list_watch_redraws_after_a_change(home: Path, tasks: Tasks):
    id = tasks.running()
    with Terminal("list", "--watch") as terminal:
        terminal.see(f"{id[3:11]}  running")
        tasks.queue.complete(id)
        terminal.see(f"{id[3:11]}  completed")
        terminal.press(CTRL_C)
        assert terminal.end() == 130


def test_list_without_tasks_is_empty_and_creates_nothing(cli: Cli, home: Path):
    assert cli("list", "--json").json == []
    assert cli("list").out == ""
    assert [path.name for path in home.iterdir()] == []


def test_list_shows_all_statuses_newest_first(cli: Cli, tasks: Tasks):
    ids = [
        tasks.ended(),
        tasks.ended(TaskStatus.ERROR),
        tasks.ended(TaskStatus.CANCELLED),
        tasks.running(),
        tasks.pending(),
    ]
    found = cli("list", "--json").json
    assert [task["id"] for task in found] == ids[::-1]
    assert [task["status"] for task in found] == ["pending", "running", "cancelled", "error", "completed"]
    assert "prompt" not in found[0]


def test_list_filters_by_status_session_and_model(cli: Cli, tasks: Tasks):
    mine = tasks.pending(parent_session_id="me", model="opus")
    tasks.pending(parent_session_id="you", model="opus")
    tasks.ended(parent_session_id="me", model="haiku")
    assert [task["id"] for task in cli("list", "--json", "--parent", "me", "--status", "pending").json] == [mine]
    assert len(cli("list", "--json", "--model", "opus").json) == 2
    assert len(cli("list", "--json", "--limit", "1").json) == 1
    assert len(cli("list", "--json", "--limit", "0").json) == 3
    assert len(cli("list", "--json", "--all").json) == 3
    assert cli("list", "--all", "--limit", "1").code == 2


def test_list_filters_by_several_statuses(cli: Cli, tasks: Tasks):
    failed, cancelled, done = (tasks.ended(status) for status in (TaskStatus.ERROR, TaskStatus.CANCELLED, COMPLETED))
    running = tasks.running()

    def listed(*words: str) -> list[str]:
        return [task["id"] for task in cli("list", "--json", *words).json]

    assert listed("--status", "failed") == [failed]
    assert listed("--status", "done") == [done, cancelled, failed]
    assert listed("--status", "error,Running") == [running, failed]
    assert listed("--status", "running", "--status", "cancelled") == [running, cancelled]
    refused = cli("list", "--status", "failed,finished")
    assert refused.code == 2
    assert "'finished' is not a status; use pending, running, completed, error, cancelled, failed, done" in refused.err


def test_list_filters_by_key_agent_text_and_time(cli: Cli, tasks: Tasks):
    found = tasks.pending(concurrency_key="docs", prompt="Review the parser")
    other = tasks.pending(description="Build")
    assert cli("list", "-q", "-k", "docs").out.split() == [found]
    assert cli("list", "-q", "--text", "PARSER").out.split() == [found]
    assert cli("list", "-q", "--agent", "external", "--since", "1h").out.split() == [found, other]
    assert cli("list", "-q", "--agent", "command").out == ""
    assert cli("list", "-q", "--since", "2999-01-01").out == ""
    assert cli("list", "--since", "recently").code == 2


def test_list_sorts_by_columns(cli: Cli, tasks: Tasks):
    ids = [tasks.pending(concurrency_key=key, priority=priority) for key, priority in (("b", 1), ("a", 1), ("c", 2))]
    b, a, c = ids
    assert cli("list", "-q", "--sort", "key").out.split() == [a, b, c]
    assert cli("list", "-q", "--sort", "-priority,key", "-n", "2").out.split() == [c, a]
    assert [task["id"] for task in cli("list", "--json", "--sort", "-key").json] == [c, b, a]
    assert cli("list", "--sort", "size").code == 2


def test_long_descriptions_hide_neither_causes_nor_chosen_columns(tasks: Tasks):
    tasks.ended(TaskStatus.ERROR, description="d" * 70, concurrency_key="k" * 40, tags=["nightly"])
    with Terminal("list", columns=80) as terminal:
        assert terminal.end() == 0
    assert " NOTE " in terminal.plain
    with Terminal("list", "--columns", "id,key,tags,task,note", columns=60) as terminal:
        assert terminal.end() == 0
    assert terminal.plain.split("\n")[0].split() == ["ID", "KEY", "TAGS", "TASK", "NOTE"]
    assert max(map(display_width, terminal.plain.splitlines())) <= 60


def test_list_shows_the_chosen_columns_even_if_they_are_empty(cli: Cli, tasks: Tasks):
    tasks.pending(prompt="one", tags=("x", "y"))
    tasks.pending(prompt="two")
    assert cli("list", "--columns", "task,tags,model").out == "TASK  TAGS  MODEL\none   x,y\ntwo\n"
    assert cli("list", "--columns", "task,size").code == 2


def test_list_shows_running_tasks_first_and_then_those_that_start_next(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(), tasks.pending(), tasks.pending(priority=1), tasks.running()]
    assert cli("list", "-q").out.split() == [ids[3], ids[2], ids[1], ids[0]]


def test_list_names_the_task_of_an_agent_by_the_start_of_its_prompt(cli: Cli, tasks: Tasks):
    tasks.pending(prompt="\n  Check the docs  \nand more")
    tasks.pending(prompt="not shown", description="Named")
    assert cli("list", "--columns", "task").out.splitlines() == ["TASK", "Check the docs", "Named"]


def test_list_shows_attempts_and_the_cause_of_a_failure(cli: Cli, tasks: Tasks):
    tasks.ended(TaskStatus.ERROR, retries=2, description="flaky")
    header, line = cli("list", "--columns", "try,note,task").out.splitlines()
    assert header.split() == ["TRY", "NOTE", "TASK"]
    assert line.split("  ") == ["1/3", "failed: no", "flaky"]


def test_list_fits_the_terminal_and_keeps_the_names_of_tasks(tasks: Tasks):
    name = "Translate the manual 日本語 🎉"
    tasks.pending(description=name, concurrency_key="a-key/of-a-very-long-name", delay_ms=9**9)
    tasks.ended(TaskStatus.ERROR, description="Refactor the parser", concurrency_key="k")
    for columns in (60, 80, 200):
        with Terminal("list", variables={"NO_COLOR": "1"}, columns=columns) as terminal:
            assert terminal.end() == 0
        lines = terminal.plain.splitlines()
        assert max(map(display_width, lines)) <= columns
        assert lines[0].split()[:2] == ["ID", "STATUS"]
        assert lines[1].endswith(name)
        assert lines[2].endswith("Refactor the parser")


def test_list_that_is_longer_than_the_terminal_uses_the_pager(tasks: Tasks, tmp_path: Path):
    for _ in range(10):
        tasks.pending()
    pager = {"PAGER": f"cat >{tmp_path / 'paged'}"}
    with Terminal("list", variables=pager, columns=80, lines=11) as terminal:
        assert terminal.end() == 0
    assert terminal.plain == ""
    assert len((tmp_path / "paged").read_text().splitlines()) == 11
    for words, variables, lines in (
        (("--no-pager",), pager, 11),
        (("-n", "9"), pager, 10),
        ((), {"PAGER": "/no/such/pager"}, 12),
        ((), {"PAGER": "cat"}, 11),
    ):
        with Terminal("list", *words, variables=variables, columns=80, lines=11) as terminal:
            assert terminal.end() == 0
        assert len(terminal.plain.splitlines()) == lines


def test_list_watch_fits_the_terminal_and_leaves_its_text_alone(tasks: Tasks):
    ended = [tasks.ended() for _ in range(5)]
    waiting = [tasks.pending() for _ in range(20)]
    running = tasks.running()
    with Terminal("list", "--watch", columns=80, lines=10) as terminal:
        terminal.see("19 more")
        screen = terminal.plain
        terminal.press(b"q")
        assert terminal.end() == 0
    assert "1 running, 20 pending, 5 completed" in screen
    assert re.search(r"updated at \d\d:\d\d:\d\d", screen)
    shown = [id for id in [running, *waiting, *ended] if id[3:11] in screen]
    assert shown == [running, *waiting[:5], ended[4]]
    assert terminal.text.startswith("\x1b[?1049h")
    assert terminal.text.endswith("\x1b[?1049l")
    assert "\x1b[3J" not in terminal.text


def test_list_watch_follows_a_new_size_of_the_terminal(tasks: Tasks):
    tasks.pending(description="x" * 70)
    with Terminal("list", "--watch", columns=60, lines=10) as terminal:
        terminal.see("x…")
        terminal.resize(120, 10)
        terminal.see("x{70}")


def test_list_reads_many_pages(cli: Cli, tasks: Tasks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("backburner.supervisor.cli.commands.list.PAGE", 2)
    ids = [tasks.pending() for _ in range(5)]
    assert [task["id"] for task in cli("list", "--json").json] == ids[::-1]
    assert [task["id"] for task in cli("list", "--json", "--limit", "3").json] == ids[:1:-1]
    assert cli("list", "-q").out.split() == ids


def test_list_shows_what_a_pending_task_waits_for(cli: Cli, tasks: Tasks):
    blocker = tasks.pending(description="the first")
    tasks.pending(description="the second", after=(blocker,))
    tasks.pending(description="later", delay_ms=3_600_000)
    lines = cli("list").out.splitlines()
    assert lines[0].split()[-3:] == ["WAITS", "FOR", "TASK"]
    assert "supervisor" in lines[1]
    assert "dependency" in lines[2]
    assert "delay until" in lines[3]


def test_list_by_tag_shows_tasks_that_have_all_given_tags(cli: Cli):
    both = cli("launch", "--no-up", "--tag", "docs", "--tag", "nightly", "--", "true").out.strip()
    one = cli("launch", "--no-up", "--tag", "docs", "--", "true").out.strip()
    listed = [task["id"] for task in json.loads(cli("list", "--tag", "docs", "--json").out)]
    assert listed == [one, both]
    assert [task["id"] for task in json.loads(cli("list", "--tag", "docs", "--tag", "nightly", "--json").out)] == [both]
