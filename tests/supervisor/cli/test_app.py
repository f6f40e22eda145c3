from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from backburner.ipc.api.control import program as command_line
from backburner.ipc.model.launch import LaunchInput
from backburner.supervisor.cli.app import VERBS, program
from tests.helpers.places import IMPORT_ROOT
from tests.supervisor.cli.conftest import Cli, Stage

#: What takes long to import, and what reading and launching can do without.
HEAVY = {"asyncio", "sqlite_utils", "psutil", "rich", "subprocess", "importlib.metadata", "tomllib", "socket"}


def commands() -> dict[str, click.Command]:
    """Every command and subcommand."""
    context = click.Context(program)
    found = {name: program.get_command(context, name) for name in VERBS}
    assert isinstance(found["config"], click.Group)
    return {name: command for name, command in found.items() if command} | found["config"].commands


@pytest.mark.parametrize("name", commands())
def test_the_help_of_every_command_has_an_example(name: str):
    command = commands()[name]
    assert command.help
    assert "Example:" in (command.epilog or "")
    assert "backburner " in (command.epilog or "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_given_without_touching_a_home(cli: Cli, home: Path, verb: str):
    said = cli(verb, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: backburner")
    assert list(home.iterdir()) == []


def test_the_help_lists_every_verb(cli: Cli):
    out = cli("--help").out
    assert [verb for verb in VERBS if f"\n  {verb} " not in out] == []


def test_the_version_is_told(cli: Cli):
    said = cli("--version")
    assert said.code == 0
    assert said.out.startswith("backburner ")


def test_a_slip_of_the_finger_is_guessed(cli: Cli):
    said = cli("lanch")
    assert said.code == 2
    assert "did you mean 'launch'?" in said.err


@pytest.mark.parametrize(
    "words",
    [("show", "zz"), ("launch", "a", "b"), ("flush",), ("down",), ("reload",), ("nope",), ("list", "--nope")],
)
def test_every_error_names_the_home_and_says_nothing_on_stdout(cli: Cli, home: Path, words: tuple[str, ...]):
    said = cli(*words)
    assert said.code != 0
    assert str(home) in said.err
    assert said.out == ""
    assert "Traceback" not in said.err


@pytest.mark.parametrize("verb", ["down", "reload", "flush"])
def test_what_needs_a_supervisor_says_so_and_how_to_start_one(cli: Cli, verb: str):
    said = cli(verb)
    assert said.code == 4
    assert "backburner up --detach" in said.err


def test_a_home_can_be_named(cli: Cli, tmp_path: Path):
    other = tmp_path / "other"
    assert cli("--home", str(other), "status", "--json").json["home"] == str(other)


def test_a_home_that_others_may_write_is_refused(cli: Cli, home: Path):
    home.chmod(0o777)
    said = cli("launch", "--", "true")
    assert said.code == 100
    assert "chmod go-w" in said.err


def test_a_home_that_is_a_file_is_refused(cli: Cli, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert cli("--home", str(tmp_path / "file"), "launch", "--", "true").code == 100


def test_a_database_that_is_none_is_a_permanent_failure_and_is_left_alone(cli: Cli, home: Path):
    (home / "backburner.db").write_bytes(b"no database" * 1000)
    said = cli("list")
    assert said.code == 100
    assert str(home) in said.err
    assert (home / "backburner.db").read_bytes() == b"no database" * 1000


def test_an_argument_that_is_no_text_is_a_usage_error(cli: Cli, stage: Stage):
    stage.pending()
    for words in (("list", "--parent", "\udcff"), ("show", "\udcff"), ("launch", "--", "\udcff")):
        said = cli(*words)
        assert said.code == 2, words
        assert "Traceback" not in said.err


def test_clearing_wants_to_be_told_twice(cli: Cli, stage: Stage):
    id = stage.pending()
    said = cli("clear")
    assert said.code == 2
    assert "clear --yes" in said.err
    assert stage.task(id)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shells_completion_is_printed(cli: Cli, shell: str):
    assert "_BACKBURNER_COMPLETE" in cli("completion", shell).out


def test_verbs_options_and_ids_are_completed(home: Path, stage: Stage):
    id = stage.pending()

    def complete(*words: str) -> list[str]:
        asked = {"COMP_WORDS": " ".join(["backburner", *words]), "COMP_CWORD": str(len(words))}
        variables = os.environ | asked | {"_BACKBURNER_COMPLETE": "bash_complete"}
        done = subprocess.run(command_line(), env=variables, capture_output=True, text=True, check=False)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("la") == ["launch"]
    assert "--priority" in complete("launch", "--pri")
    assert complete("show", id[3:6]) == [id[3:11]]


@pytest.mark.parametrize("words", [("list",), ("launch", "--", "true")])
def test_nothing_that_takes_long_is_imported_for_what_must_be_quick(home: Path, stage: Stage, words: tuple[str, ...]):
    stage.pending()
    probe = (
        "import sys, json; from backburner.supervisor.cli import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT)},
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    assert HEAVY & set(modules) == set()


def test_a_reader_that_has_heard_enough_is_no_error(home: Path, stage: Stage):
    stage.queue.launch_many([LaunchInput(command=("true",), description="x" * 4000)] * 100)
    process = subprocess.Popen(
        command_line("list", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "[\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


def test_text_that_stdout_cannot_show_breaks_neither_a_table_nor_json(home: Path, stage: Stage):
    stage.pending(description="日本 ü")
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for words in (("list",), ("list", "--json")):
        done = subprocess.run(command_line(*words), env=variables, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["description"] == "日本 ü"


def test_streams_that_the_caller_closed_are_missed_by_nobody(home: Path):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command_line("launch", "--", "true")]
    assert subprocess.run(closed, check=False).returncode == 0
    listed = subprocess.run(command_line("list", "--json"), capture_output=True, check=True)
    assert len(json.loads(listed.stdout)) == 1
