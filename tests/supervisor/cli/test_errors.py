from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks


@pytest.mark.parametrize(
    "words",
    [("show", "zz"), ("flush",), ("down",), ("reload",)],
)
def test_error_names_the_state_directory_and_leaves_stdout_empty(cli: Cli, home: Path, words: tuple[str, ...]):
    result = cli(*words)
    assert result.code != 0
    assert str(home) in result.err
    assert result.out == ""
    assert "Traceback" not in result.err


@pytest.mark.parametrize("words", [("launch", "a", "b"), ("nope",), ("list", "--nope"), ("show", "")])
def test_usage_error_is_one_line_about_the_arguments(cli: Cli, home: Path, tasks: Tasks, words: tuple[str, ...]):
    tasks.pending()
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith("backburner: ")
    assert str(home) not in result.err


def test_group_without_a_command_prints_its_help(cli: Cli):
    result = cli("service")
    assert result.code in (0, 2)
    assert result.out + result.err == cli("service", "--help").out


def test_missing_argument_with_choices_is_reported_on_one_line(cli: Cli):
    result = cli("completion")
    assert (result.code, result.out) == (2, "")
    assert result.err == ("backburner: missing argument '{bash|zsh|fish}'; see: backburner completion --help\n")


@pytest.mark.parametrize("verb", ["down", "reload", "flush"])
def test_error_without_a_supervisor_names_the_command_that_starts_one(cli: Cli, verb: str):
    result = cli(verb)
    assert result.code == 4
    assert "backburner up --detach" in result.err


def test_message_starts_in_lower_case_and_ends_with_the_next_step(cli: Cli, home: Path, tasks: Tasks):
    tasks.pending()
    assert cli("show", "zzzz").err == (
        f"backburner: there is no task zzzz in {home}; run 'backburner list' to see task IDs\n"
    )


def test_argument_that_is_not_utf8_is_a_usage_error(cli: Cli, tasks: Tasks):
    tasks.pending()
    for words in (("list", "--parent", "\udcff"), ("show", "\udcff"), ("launch", "--", "\udcff")):
        result = cli(*words)
        assert result.code == 2, words
        assert "Traceback" not in result.err


def test_commands_work_without_docstrings(home: Path):
    program = [sys.executable, "-OO", "-m", "backburner", "--home", str(home)]
    code = "from backburner.ipc.errors import Disconnected, Temporary; print(Disconnected(), Temporary('why'))"
    printed = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert printed.stdout == "Disconnected. why\n", printed.stderr
    helped = subprocess.run([*program, "config", "check", "--help"], capture_output=True, text=True, check=False)
    assert "Report all mistakes in the configuration files." in helped.stdout, helped.stderr


def test_advice_names_the_task_and_never_a_placeholder(cli: Cli, tasks: Tasks):
    id = tasks.pending()
    result = cli("complete", "-")
    assert result.code == 5
    assert f"see: backburner show {id[3:11]}" in result.err
    result = cli("salvage")
    assert result.code == 5
    assert "nothing to salvage" in result.err
    for words in (("complete", "-"), ("salvage",), ("output", "zz"), ("retry", "-"), ("signal", "-", "TERM")):
        assert not re.search(r" ID\b", cli(*words).err)


@pytest.mark.parametrize("verb", ["show", "output", "cancel", "retry", "complete"])
def test_empty_state_directory_leads_to_launch(cli: Cli, tasks: Tasks, verb: str):
    assert "there are no tasks in" in cli(verb, "-").err
    id = tasks.ended()
    tasks.queue.remove([id])
    result = cli(verb, "-")
    assert (result.code, "to launch one: backburner launch" in result.err) == (3, True)
