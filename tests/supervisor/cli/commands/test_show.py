from __future__ import annotations

from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, stdout_of
from tests.supervisor.cli.terminal import Terminal


def test_show_prints_the_fields_of_a_task(cli: Cli, tasks: Tasks):
    id = tasks.ended(TaskStatus.ERROR, description="two\nlines", metadata={"a": 1})
    out = cli("show", id).out
    assert f"id               {id}\n" in out
    assert "task             two\n                 lines\n" in out
    assert "error            no\n" in out
    assert "prompt           look after it\n" in out
    assert 'metadata         {"a": 1}\n' in out
    assert "leftovers" not in out
    assert cli("show", "--json", id).json["prompt"] == "look after it"


def test_several_tasks_are_shown(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(), tasks.pending()]
    result = cli("show", *ids, "nosuch")
    assert result.code == 3
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("id ")] == ids
    assert [task["id"] for task in cli("show", "--json", *ids).json] == ids
    assert cli("show").code == 2


def test_long_values_are_cut_to_a_page(cli: Cli, tasks: Tasks):
    id = tasks.pending(prompt="line\n" * 5000, metadata={"a": "x" * 5000})
    out = cli("show", id).out
    assert len(out.splitlines()) < 24
    assert len(out) < 3000
    assert f"all of it: backburner show --json {id[3:11]}" in out


def test_show_ends_with_the_cause_and_the_last_lines_of_output(supervised: Path):
    line = 'seq 1000; printf "\\033[31m10%%\\rno rule\\033[0m\\n" >&2; sleep 300 & kill -SEGV $$'
    id = launch(supervised, "--retries", "0", "--timeout", "10m", "--", "sh", "-c", line)
    backburner(supervised, "wait", id)
    out = stdout_of(supervised, "show", id)
    assert "status           error (killed by SIGSEGV)\n" in out
    assert "timeout          10 m\n" in out
    assert "left behind      1 process it left behind was ended (leave_children keeps them)" in out
    assert f"stderr           21 bytes: backburner output --stderr {id[3:11]}\n" in out
    assert out.endswith("last lines of stdout:\n  996\n  997\n  998\n  999\n  1000\nlast lines of stderr:\n  no rule\n")
    with Terminal("--home", str(supervised), "show", id) as terminal:
        terminal.see(r"no rule\n")
        assert "\x1b[31mno rule" not in terminal.text


def test_show_names_the_file_of_a_large_output(supervised: Path):
    id = launch(supervised, "--", "sh", "-c", "yes | head -c 100000")
    backburner(supervised, "wait", id)
    (path,) = [line.split()[1] for line in stdout_of(supervised, "show", id).splitlines() if line.startswith("stdout")]
    assert Path(path).stat().st_size == 100_000


def test_environment_is_shown_with_secrets_masked(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden@proxy")
    words = (
        "--env",
        "STAGE=test",
        "--env",
        "MY_TOKEN=hidden",
        "--env",
        "EMPTY_KEY=",
        "--secret",
        "DEPLOY",
        "--cwd",
        "/",
    )
    assert cli("launch", "--no-up", *words, "--", "true").code == 0
    shown = cli("show", "--env", "-")
    lines = shown.out.splitlines()
    assert {"STAGE=test", "MY_TOKEN=********", "EMPTY_KEY=", "PWD=/"} <= set(lines)
    assert "HTTPS_PROXY=http://me:********@proxy" in lines
    assert "hidden" not in shown.out
    assert "no supervisor is running, so its variables are not shown" in shown.err
    assert cli("show", "--env", "--json", "-").json == dict(line.split("=", 1) for line in lines)
