from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from backburner.ipc.api.maintenance import Archive
from backburner.ipc.home import Home
from tests.supervisor.cli.conftest import Cli, Stage

FULL_ID = r"bg-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def launched(cli: Cli, *words: str, stdin: bytes = b"") -> dict:
    """Launch, and show."""
    said = cli("launch", "--json", *words, stdin=stdin)
    assert said.code == 0, said.err
    return said.json


def env_of(home: Path, id: str) -> dict[str, str | None]:
    """The environment that is stored with a task."""
    stage = Stage(home)
    try:
        found = json.loads("".join(Archive(stage.queue.database, stage.queue.config).export()))
    finally:
        stage.close()
    (task,) = [task for task in found["tasks"] if task["id"] == id]
    return task["env"]


def test_a_launch_prints_the_full_id_alone_on_a_line_and_needs_no_supervisor(cli: Cli):
    said = cli("launch", "--", "echo", "hi")
    assert said.code == 0
    assert re.fullmatch(FULL_ID + "\n", said.out)
    assert said.err == ""  # hints are for terminals
    assert cli("show", "--json", said.out.strip()).json["status"] == "pending"


def test_what_follows_the_first_two_dashes_is_the_command_as_it_stands(cli: Cli):
    task = launched(cli, "--", "prog", "--json", "--", "-x", "")
    assert task["command"] == ["prog", "--json", "--", "-x", ""]


@pytest.mark.parametrize("words", [(), ("two", "words"), ("prompt", "--", "true"), ("--",)])
def test_a_prompt_is_exactly_one_word_and_a_command_at_least_one(cli: Cli, words: tuple[str, ...]):
    said = cli("launch", "--agent", "external", *words)
    assert said.code == 2
    assert "Usage: backburner launch" in said.err
    assert cli("list", "--json").json == []


def test_a_prompt_can_come_by_stdin_and_be_long(cli: Cli):
    prompt = "ü" * 460_800  # 900 KiB
    task = launched(cli, "--agent", "external", "-", stdin=prompt.encode())
    assert task["prompt"] == prompt


@pytest.mark.parametrize(("stdin", "why"), [(b"x" * (1 << 20) + b"y", "1 MiB"), (b"\xff\xfe", "UTF-8")])
def test_a_prompt_by_stdin_that_cannot_be_is_refused(cli: Cli, stdin: bytes, why: str):
    said = cli("launch", "--agent", "external", "-", stdin=stdin)
    assert said.code == 2
    assert "prompt" in said.err
    assert why in said.err


def test_every_option_reaches_the_task(cli: Cli, tmp_path: Path):
    first = launched(cli, "--", "true")["id"]
    words = f"""
        --model opus --key k --parent ses-1 --message m-1 --cwd {tmp_path} --priority -3 --timeout 1.5m
        --retries 2 --unique u --after {first[:12]} --leave-children --call json:dumps --args [1]
    """.split()
    words += ["--description", "about it", "--kwargs", '{"indent": 2}', "--metadata", '{"a": [1]}']
    task = launched(cli, *words)
    expected = {
        "agent": "python",
        "call": "json:dumps",
        "args": [1],
        "kwargs": {"indent": 2},
        "model": "opus",
        "concurrencyKey": "k",
        "parentSessionId": "ses-1",
        "parentMessageId": "m-1",
        "description": "about it",
        "cwd": str(tmp_path),
        "priority": -3,
        "timeoutMs": 90_000,
        "maxAttempts": 3,
        "uniqueKey": "u",
        "after": [first],
        "metadata": {"a": [1]},
        "waitingFor": "dependency",
        "existing": False,
    }
    assert {name: task[name] for name in expected} == expected


def test_a_delay_says_when(cli: Cli):
    task = launched(cli, "--delay", "1h", "--", "true")
    assert task["waitingFor"] == "delay"
    assert task["notBefore"] > task["queuedAt"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--delay", "-5"), "--delay"),
        (("--timeout", "soon"), "--timeout"),
        (("--priority", "1001"), "--priority"),
        (("--retries", "-1"), "--retries"),
        (("--retries", "x"), "--retries"),
        (("--args", "{"), "--args"),
        (("--args", "{}"), "--args"),
        (("--kwargs", "[]"), "--kwargs"),
        (("--metadata", "1"), "--metadata"),
        (("--cwd", "/nonexistent"), "--cwd"),
        (("--env", "=x"), "--env"),
        (("--stdin", "/nonexistent"), "stdinFile"),
        (("--unique", ""), "uniqueKey"),
        (("--nope",), "--nope"),
    ],
)
def test_a_mistake_names_its_option_or_field_and_launches_nothing(cli: Cli, words: tuple[str, ...], name: str):
    said = cli("launch", *words, "--", "true")
    assert said.code == 2
    assert name in said.err
    assert said.out == ""
    assert cli("list", "--json").json == []


def test_an_unknown_agent_is_a_usage_error_that_names_those_there_are(cli: Cli):
    said = cli("launch", "--agent", "nobody", "hello")
    assert said.code == 2
    assert "there is no agent nobody; there are: aider, claude, codex, command, " in said.err


def test_a_prompt_without_any_agent_is_refused(cli: Cli):
    assert cli("launch", "hello").code == 2


def test_to_come_after_an_unknown_task_is_no_such_task(cli: Cli):
    cli("launch", "--", "true")
    assert cli("launch", "--after", "ffffffff", "--", "true").code == 3


def test_a_unique_name_returns_the_task_there_is(cli: Cli):
    first = cli("launch", "--unique", "nightly", "--", "true").out
    second = cli("launch", "--unique", "nightly", "--", "false")
    assert (second.code, second.out) == (0, first)
    assert launched(cli, "--unique", "nightly", "--", "x")["existing"] is True


@pytest.mark.parametrize(
    ("variables", "words", "parent"),
    [
        ({}, (), None),
        ({"CLAUDE_CODE_SESSION_ID": "c"}, (), "c"),
        ({"CLAUDE_CODE_SESSION_ID": "c", "BACKBURNER_PARENT": "b"}, (), "b"),
        ({"BACKBURNER_PARENT": "b"}, ("--parent", "p"), "p"),
        ({"BACKBURNER_PARENT": "b"}, ("--no-parent",), None),
    ],
)
def test_the_parent_is_the_one_named_or_the_session_around(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: tuple[str, ...],
    parent: str | None,
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched(cli, *words, "--", "true")["parentSessionId"] == parent


def test_the_environment_keeps_paths_and_languages_and_what_is_asked_for(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
):
    (home / "config.toml").write_text('pass_env = ["MY_*"]\n')
    for name in ("LC_TIME", "MY_OWN", "OTHER", "CLAUDE_CODE_X"):
        monkeypatch.setenv(name, f"{name}!")
    found = env_of(home, launched(cli, "--env", "A=1=2", "--env", "SECRET", "--env", "EMPTY=", "--", "true")["id"])
    assert found["PATH"] == os.environ["PATH"]
    assert (found["LC_TIME"], found["MY_OWN"]) == ("LC_TIME!", "MY_OWN!")
    assert (found["A"], found["EMPTY"], found["SECRET"]) == ("1=2", "", None)
    assert not {"OTHER", "CLAUDE_CODE_X", "BACKBURNER_HOME"} & found.keys()


def test_the_whole_environment_goes_along_when_asked_but_nobody_elses_session(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTHER", "1")
    monkeypatch.setenv("CLAUDECODE", "1")
    found = env_of(home, launched(cli, "--inherit-env", "--env", "CODEX_X=1", "--", "true")["id"])
    assert found["OTHER"] == "1"
    assert found["CODEX_X"] == "1"
    assert "CLAUDECODE" not in found


def test_a_file_for_stdin_is_copied_when_the_task_is_launched(cli: Cli, home: Path, tmp_path: Path):
    (tmp_path / "text").write_text("as it was")
    assert cli("launch", "--stdin", "text", "--cwd", "/", "--", "cat").code == 0
    (tmp_path / "text").write_text("as it is")
    assert [path.read_text() for path in Home(home).input("x").parent.iterdir()] == ["as it was"]


def test_a_file_of_tasks_is_launched_whole_and_in_order(cli: Cli, tmp_path: Path):
    lines = [{"command": ["echo", str(number)]} for number in range(3)]
    lines[1]["model"] = "haiku"
    (tmp_path / "tasks.ndjson").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    said = cli("launch", "--from-file", "tasks.ndjson", "--parent", "ses-1", "--model", "opus")
    assert said.code == 0
    tasks = [cli("show", "--json", id).json for id in said.out.split()]
    assert [task["command"][1] for task in tasks] == ["0", "1", "2"]
    assert [task["model"] for task in tasks] == ["opus", "haiku", "opus"]
    assert {task["parentSessionId"] for task in tasks} == {"ses-1"}


def test_a_file_of_tasks_may_come_by_stdin(cli: Cli):
    said = cli("launch", "--from-file", "-", "--json", stdin=b'{"command": ["a"]}\n{"command": ["b"]}')
    assert [task["command"] for task in said.json] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"command": ["x"], "priority": 5000}', "priority"),
        ('{"command": "x"}', "command"),
        ('{"comand": ["x"]}', "comand"),
        ('{"prompt": "x"}', "agent"),
        ('{"prompt": "x", "agent": "nobody"}', "agent"),
        ('{"command": ["x"], "env": {"A": 1}}', "env.A"),
        ("[1]", "LaunchInput"),
        ('{"command": ["x"]', "JSON"),
        ('{"command": ["x"], "metadata": {"a": NaN}}', "NaN"),
        ('{"command": ["x\\u0000"]}', "command[0]"),
    ],
)
def test_a_bad_line_is_named_with_its_field_and_nothing_is_launched(cli: Cli, tmp_path: Path, line: str, why: str):
    (tmp_path / "tasks").write_text(f'{{"command": ["true"]}}\n\n{line}\n')
    said = cli("launch", "--from-file", "tasks")
    assert said.code == 2
    assert "tasks, line 3" in said.err
    assert why in said.err
    assert cli("list", "--json").json == []


def test_a_file_of_tasks_that_cannot_be_read_is_named(cli: Cli):
    said = cli("launch", "--from-file", "nowhere")
    assert said.code == 2
    assert "--from-file: cannot read nowhere" in said.err


def test_a_configuration_with_mistakes_stops_a_launch_and_all_are_named(cli: Cli, home: Path):
    (home / "config.toml").write_text("max_workers = 0\nnope = 1\n")
    said = cli("launch", "--", "true")
    assert said.code == 100
    assert "max_workers" in said.err
    assert "nope" in said.err


def test_a_parent_over_its_cap_is_told_to_come_back(cli: Cli, home: Path):
    (home / "config.toml").write_text("max_tasks_per_parent = 1\n")
    assert cli("launch", "--parent", "p", "--", "true").code == 0
    assert cli("launch", "--parent", "p", "--", "true").code == 111
