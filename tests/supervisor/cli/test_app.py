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
from backburner.supervisor.cli.app import ALIASES, SECTIONS, VERBS, program
from backburner.supervisor.cli.help import EVERYDAY
from tests.helpers.places import IMPORT_ROOT
from tests.supervisor.cli.conftest import Cli, Tasks

#: Modules that take long to import. Reading and launching do without them.
SLOW = {"asyncio", "sqlite_utils", "psutil", "rich", "subprocess", "shutil", "importlib.metadata", "tomllib", "socket"}

#: The longest summary that the list of commands shows on one line of 80 columns.
SUMMARY_LIMIT = 66


def commands() -> dict[str, click.Command]:
    """Return every command, and the commands of `config`."""
    context = click.Context(program)
    found = {name: program.get_command(context, name) for name in VERBS}
    assert isinstance(found["config"], click.Group)
    return {name: command for name, command in found.items() if command} | found["config"].commands


@pytest.mark.parametrize("name", commands())
def test_help_of_every_command_has_an_example(name: str):
    command = commands()[name]
    assert command.help
    assert "Example:" in (command.epilog or "")
    assert "backburner " in (command.epilog or "")
    assert [line for line in (command.epilog or "").splitlines() if len(line) > 78] == []


@pytest.mark.parametrize("verb", VERBS)
def test_help_does_not_touch_the_state_directory(cli: Cli, home: Path, verb: str):
    result = cli(verb, "--help")
    assert result.code == 0
    assert result.out.startswith("Usage: backburner")
    assert list(home.iterdir()) == []


def test_first_page_of_the_help_fits_on_a_screen(cli: Cli):
    lines = cli("--help").out.splitlines()
    assert len(lines) < 24, "the prompt of the shell needs a line"
    assert max(map(len, lines)) < 80
    names = {name for section in EVERYDAY.values() for names in section for name in names.split(", ")}
    assert names <= set(VERBS)
    assert cli("help").out == cli("--help").out


@pytest.mark.parametrize(
    ("words", "path"), [(["list"], "list"), (["config", "check"], "config check"), (["logs"], "output")]
)
def test_help_explains_a_command(cli: Cli, words: list[str], path: str):
    assert cli("help", *words).out == cli(*words, "--help").out
    assert f"Usage: backburner {path} " in cli("help", *words).out


def test_help_of_an_unknown_command_suggests_the_nearest_one(cli: Cli):
    result = cli("help", "lanch")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'launch'?" in result.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["service", "nope"], "'backburner service' has no command 'nope'"), (["list", "nope"], "has no commands")],
)
def test_help_of_an_unknown_subcommand_is_a_usage_error(cli: Cli, words: list[str], expected: str):
    result = cli("help", *words)
    assert (result.code, result.out) == (2, "")
    assert expected in result.err


def test_example_shows_its_output_after_the_command(cli: Cli):
    assert "    $ backburner rm 1a2b3c4d\n    deleted 1 task\n" in cli("help", "rm").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--stat"], "no such option '--stat' (did you mean --status?); see: backburner list --help"),
        (["completion"], "missing argument '{bash|zsh|fish}'; see: backburner completion --help"),
        (["output", "-n", "x", "-"], "'--lines' / '-n': must be a whole number of 0 or more, got 'x'; see:"),
    ],
)
def test_usage_error_is_one_sentence_and_the_next_step(cli: Cli, words: list[str], message: str):
    result = cli(*words)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert message in result.err


def test_complete_help_lists_every_command(cli: Cli):
    out = cli("help", "--all").out
    assert [verb for verb in VERBS if f"\n  {verb} " not in out] == []
    assert [section for section in SECTIONS if f"\n{section}:\n" not in out] == []
    assert [alias for alias in ALIASES if f"\n  {alias} " not in out] == []


@pytest.mark.parametrize("alias", ALIASES)
def test_name_that_other_programs_use_runs_the_command(cli: Cli, tasks: Tasks, alias: str):
    tasks.pending()
    command, *options = ALIASES[alias]
    assert cli(alias, "--help").out == cli(command, *options, "--help").out


def test_ps_lists_running_tasks(cli: Cli, tasks: Tasks):
    tasks.pending()
    running = tasks.running()
    assert [task["id"] for task in cli("ps", "--json").json] == [running]


def test_stop_with_an_id_names_the_command_that_stops_a_task(cli: Cli):
    result = cli("stop", "3a47defe")
    assert result.code == 2
    assert "backburner cancel 3a47defe" in result.err


@pytest.mark.parametrize("name", commands())
def test_summary_of_every_command_fits_on_its_help_line(name: str):
    assert len(commands()[name].get_short_help_str(limit=1000)) <= SUMMARY_LIMIT


def test_version_is_printed(cli: Cli):
    result = cli("--version")
    assert result.code == 0
    assert result.out.startswith("backburner ")


def test_misspelt_command_suggests_the_nearest_one(cli: Cli):
    result = cli("lanch")
    assert result.code == 2
    assert "did you mean 'launch'?" in result.err


@pytest.mark.usefixtures("no_user_settings")
@pytest.mark.parametrize("words", [("list",), ("launch", "--no-up", "--", "true")])
def test_quick_commands_do_not_import_slow_modules(home: Path, tasks: Tasks, words: tuple[str, ...]):
    tasks.pending()
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
    assert SLOW & set(modules) == set()


def test_reader_that_closes_the_pipe_ends_the_command_with_141(home: Path, tasks: Tasks):
    tasks.queue.launch_many([LaunchInput(command=("true",), description="x" * 4000)] * 100)
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


def test_closed_stdout_is_an_output_that_fails(home: Path):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command_line("launch", "--", "true")]
    assert subprocess.run(closed, check=False).returncode == 74
    listed = subprocess.run(command_line("list", "--json"), capture_output=True, check=True)
    assert len(json.loads(listed.stdout)) == 1
