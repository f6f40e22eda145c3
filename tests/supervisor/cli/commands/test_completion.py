from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backburner.ipc.api.control import program as command_line
from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed_for_each_shell(cli: Cli, shell: str):
    assert "_BACKBURNER_COMPLETE" in cli("completion", shell).out


@pytest.fixture
def complete(home: Path) -> Callable[..., list[str]]:
    """Return a function that completes the last word as bash does, or as zsh does with descriptions."""

    def run(*words: str, shell: str = "bash") -> list[str]:
        asked = {"COMP_WORDS": shlex.join(["backburner", *words]), "COMP_CWORD": str(len(words))}
        variables = os.environ | asked | {"_BACKBURNER_COMPLETE": f"{shell}_complete"}
        done = subprocess.run(command_line(), env=variables, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        lines = done.stdout.split("\n") if done.stdout.strip() else []
        return [line.partition(",")[2] for line in lines if line] if shell == "bash" else lines[:-1]

    return run


def test_commands_and_options_are_completed(complete: Callable[..., list[str]]):
    assert complete("la") == ["launch"]
    assert "--priority" in complete("launch", "--pri")


def test_ids_are_completed_that_fit_the_command(complete: Callable[..., list[str]], tasks: Tasks):
    pending, running = tasks.pending(), tasks.running()
    completed, failed = tasks.ended(), tasks.ended(TaskStatus.ERROR)
    shown = {id[3:11]: id for id in (pending, running, completed, failed)}

    def offered(*words: str) -> set[str]:
        return {shown[word] for word in complete(*words)}

    assert offered("show", "") == {pending, running, completed, failed}
    assert offered("cancel", "") == {pending, running}
    assert offered("retry", "") == {failed}
    assert offered("complete", "") == {running}
    assert offered("kill", pending[3:9]) == {pending}
    assert offered("launch", "--after", completed[3:9]) == {completed}


def test_keys_agents_and_sessions_are_completed(complete: Callable[..., list[str]], tasks: Tasks):
    tasks.pending(concurrency_key="build", parent_session_id="ses-1", tags=["nightly"])
    assert complete("launch", "--key", "bu") == ["build"]
    assert complete("list", "--tag", "ni") == ["nightly"]
    assert complete("limit", "") == ["haiku", "opus", "sonnet", "build"]
    assert complete("launch", "--agent", "cl") == ["claude"]
    assert complete("list", "--parent", "") == ["ses-1"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("signal", "-", "USR"), ["USR1", "USR2"]),
        (("config", "get", "max_w"), ["max_workers"]),
        (("agents", "show", "cl"), ["claude"]),
        (("help", "laun"), ["launch"]),
        (("launch", "--unique", ""), []),
    ],
)
def test_signals_settings_and_names_are_completed(
    complete: Callable[..., list[str]], words: tuple[str, ...], offered: list[str]
):
    assert complete(*words) == offered


def test_command_of_a_task_is_completed(complete: Callable[..., list[str]]):
    assert "sleep" in complete("launch", "--key", "build", "--", "slee")
    with_type = {"shell": "zsh"}
    assert complete("run", "--", "cat", "fi", **with_type)[0] == "file"
    assert complete("launch", "slee") == []


def test_id_is_described_where_the_shell_shows_descriptions(complete: Callable[..., list[str]], tasks: Tasks):
    id = tasks.pending(description="build it")
    assert complete("show", "", shell="zsh") == ["plain", id[3:11], "pending: build it"]


def test_nothing_is_completed_and_made_where_no_task_was_launched(complete: Callable[..., list[str]], home: Path):
    assert complete("show", "") == []
    assert list(home.iterdir()) == []
