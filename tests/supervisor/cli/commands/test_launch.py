from __future__ import annotations

import base64
import json
import os
import re
import threading
from pathlib import Path

import pytest

from backburner.ipc.home import Home
from backburner.supervisor.cli.launch_options import ABOUT, HOW, OTHER, WHAT, WHEN
from tests.helpers.queue_db import QueueDatabase
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, launch_running, stdout_of
from tests.supervisor.cli.terminal import Terminal


def test_launch_help_has_sections_and_both_forms(cli: Cli):
    out = cli("launch", "--help").out
    assert out.startswith(
        "Usage: backburner launch [OPTIONS] PROMPT\n       backburner launch [OPTIONS] -- COMMAND [ARG]...\n"
    )
    assert all(f"\n{section}:\n" in out for section in (WHAT, WHEN, HOW, ABOUT, OTHER))


def test_launch_on_a_terminal_reports_that_no_supervisor_is_running(home: Path):
    with Terminal("launch", "--", "true") as terminal:
        assert terminal.end() == 0
    first, second = terminal.plain.splitlines()
    assert first.startswith("bg-")
    assert second == (f"backburner: pending: no supervisor is running for {home}; start one: backburner up --detach")


def test_launch_on_a_terminal_explains_delay_pause_and_dependency(home: Path, tasks: Tasks):
    with Terminal("launch", "--delay", "1h", "--", "true") as terminal:
        terminal.see(r"pending: starts in (1 h|59 m \d+ s|1 h 0 m), at \d")
    with Terminal("pause", "k") as terminal:
        assert terminal.end() == 0
    with Terminal("launch", "--key", "k", "--", "true") as terminal:
        terminal.see("pending: 'k' is paused; to resume it: backburner resume 'k'")
    blocker = tasks.pending()
    with Terminal("launch", "--after", blocker, "--", "true") as terminal:
        terminal.see(f"pending: starts after {blocker[3:11]}")


def test_launch_on_a_terminal_shows_how_many_tasks_are_ahead(supervised: Path):
    stdout_of(supervised, "limit", "opus", "1")
    ids = [launch_running(supervised, "--model", "opus"), launch(supervised, "--model", "opus", "--", "true")]
    with Terminal("--home", str(supervised), "launch", "--model", "opus", "--", "true") as terminal:
        terminal.see(r"queued: 1 of 1 slots of 'opus' are in use, 1 task ahead")
    lines = stdout_of(supervised, "list", "--status", "pending").splitlines()
    assert "slot" in lines[1]
    stdout_of(supervised, "cancel", *reversed(ids))  # the pending one first: it would start when the other ends


def test_tasks_of_a_file_run_and_can_be_waited_for(supervised: Path, tmp_path: Path):
    (tmp_path / "tasks").write_text('{"command": ["true"]}\n' * 50)
    ids = stdout_of(supervised, "launch", "--from-file", str(tmp_path / "tasks")).split()
    assert len(ids) == 50
    assert stdout_of(supervised, "wait", *ids) == "50 background tasks completed successfully.\n"


FULL_ID = r"bg-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def launched(cli: Cli, *words: str, stdin: bytes = b"") -> dict:
    """Launch a task and return it as JSON."""
    result = cli("launch", "--json", *words, stdin=stdin)
    assert result.code == 0, result.err
    return result.json


def env_of(home: Path, id: str) -> dict[str, str | None]:
    """Return the environment that is stored with a task."""
    with QueueDatabase(home) as queue_db:
        stored = queue_db.store.tasks.stored(0, 100)
    (columns,) = [one.columns for one in stored if one.task.id == id]
    return json.loads(columns["launcher_env"]) | json.loads(columns["env"])


def test_launch_prints_only_the_full_id(cli: Cli):
    result = cli("launch", "--", "echo", "hi")
    assert result.code == 0
    assert re.fullmatch(FULL_ID + "\n", result.out)
    assert result.err == ""  # hints are for terminals
    assert cli("show", "--json", result.out.strip()).json["status"] == "pending"


def test_arguments_after_the_first_double_dash_are_the_command(cli: Cli):
    task = launched(cli, "--", "prog", "--json", "--", "-x", "")
    assert task["command"] == ["prog", "--json", "--", "-x", ""]


@pytest.mark.parametrize("words", [(), ("two", "words"), ("prompt", "--", "true"), ("--",)])
def test_prompt_is_one_argument_and_a_command_is_not_empty(cli: Cli, words: tuple[str, ...]):
    result = cli("launch", "--agent", "external", *words)
    assert result.code == 2
    assert "backburner launch --" in result.err
    assert cli("list", "--json").json == []


def test_prompt_is_read_from_stdin(cli: Cli):
    prompt = "ü" * 460_800  # 900 KiB
    task = launched(cli, "--agent", "external", "-", stdin=prompt.encode())
    assert task["prompt"] == prompt


@pytest.mark.parametrize(("stdin", "why"), [(b"x" * (1 << 20) + b"y", "1 MiB"), (b"\xff\xfe", "UTF-8")])
def test_invalid_prompt_on_stdin_is_refused(cli: Cli, stdin: bytes, why: str):
    result = cli("launch", "--agent", "external", "-", stdin=stdin)
    assert result.code == 2
    assert "prompt" in result.err
    assert why in result.err


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


def test_delay_sets_not_before(cli: Cli):
    task = launched(cli, "--delay", "1h", "--", "true")
    assert task["waitingFor"] == "delay"
    assert task["notBefore"] > task["queuedAt"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--delay", "-5"), "--delay"),
        (("--timeout", "soon"), "--timeout"),
        (("--priority", "high"), "must be a whole number from -1000 to 1000"),
        (("--priority", "1001"), "--priority"),
        (("--retries", "-1"), "--retries"),
        (("--retries", "x"), "--retries"),
        (("--args", "{"), "--args"),
        (("--args", "{}"), "--args"),
        (("--kwargs", "[]"), "--kwargs"),
        (("--metadata", "1"), "--metadata"),
        (("--cwd", "/nonexistent"), "--cwd"),
        (("--env", "=x"), "--env"),
        (("--stdin", "/nonexistent"), "--stdin"),
        (("--unique", ""), "--unique must not be empty"),
        (("--key", ""), "--key must not be empty"),
        (("--after", ""), "--after must not be empty"),
        (("--at", "25:00"), "--at"),
        (("--at", "03:00", "--delay", "1h"), "--at"),
        (("-c", "true"), "-c LINE"),
        (("--nope",), "--nope"),
    ],
)
def test_invalid_option_is_named_and_nothing_is_queued(cli: Cli, words: tuple[str, ...], name: str):
    result = cli("launch", *words, "--", "true")
    assert result.code == 2
    assert name in result.err
    assert result.out == ""
    assert cli("list", "--json").json == []


def test_call_of_another_form_is_refused_with_the_form(cli: Cli):
    result = cli("launch", "--call", "json.loads")
    assert result.code == 2
    assert "--call: expected MODULE:FUNCTION, such as json:loads, got 'json.loads'" in result.err


def test_argument_that_is_not_utf8_is_shown_with_the_way_out(cli: Cli):
    result = cli("launch", "--", "cat", "a\udcff")
    assert result.code == 2
    assert "the argument 'a\\xff' is not valid UTF-8" in result.err
    assert "-c '" in result.err
    assert "--description is not valid UTF-8" in cli("launch", "-d", "\udcff", "--", "true").err


def test_line_of_shell_is_a_command_that_lists_show_as_it_was_given(cli: Cli):
    task = launched(cli, "-c", "echo a | wc -c", "-k", "small", "-d", "count")
    assert task["command"] == ["sh", "-c", "echo a | wc -c"]
    assert (task["concurrencyKey"], task["description"]) == ("small", "count")
    cli("launch", "-c", "echo a | wc -c")
    assert any(line.endswith("  echo a | wc -c") for line in cli("list").out.splitlines())


@pytest.mark.parametrize("line", ["", "  "])
def test_line_of_shell_is_not_empty(cli: Cli, line: str):
    assert "-c must not be empty" in cli("launch", "-c", line).err


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (("make", "test"), "backburner launch -- make test;"),
        (("make test",), "backburner launch -- make test;"),
        (("make",), "backburner launch -- make;"),
        (("make", "-j4"), "backburner launch -- make -j4;"),
        (("cat x | wc",), "backburner launch -c 'cat x | wc';"),
    ],
)
def test_command_without_double_dash_is_refused_with_the_right_line(cli: Cli, words: tuple[str, ...], written: str):
    result = cli("launch", *words)
    assert result.code == 2
    assert f"to run a command, write: {written}" in result.err


def test_prompt_with_a_blank_may_begin_with_a_dash(cli: Cli):
    assert launched(cli, "-x is wrong, fix it", "--agent", "external")["prompt"] == "-x is wrong, fix it"
    assert "a prompt that begins with '-' is read from stdin: -" in cli("launch", "-x", "--agent", "external").err


def test_time_of_the_start_sets_not_before(cli: Cli):
    assert launched(cli, "--at", "2050-01-02T03:04:05Z", "--", "true")["notBefore"].startswith("2050-01-02T03:04:05.")


@pytest.mark.parametrize("path", ["-", "/dev/null", "blank"])
def test_file_without_tasks_is_refused(cli: Cli, tmp_path: Path, path: str):
    (tmp_path / "blank").write_text("\n \n")
    result = cli("launch", "--from-file", path)
    assert result.code == 2
    assert f"no tasks in {'stdin' if path == '-' else path}" in result.err


def test_error_about_an_unknown_agent_lists_the_agents(cli: Cli):
    result = cli("launch", "--agent", "nobody", "hello")
    assert result.code == 2
    assert "there is no agent nobody; known agents: aider, claude, codex, command, " in result.err


def test_prompt_without_an_agent_is_refused(cli: Cli):
    assert cli("launch", "hello").code == 2


def test_launch_after_an_unknown_task_exits_with_3(cli: Cli):
    cli("launch", "--", "true")
    assert cli("launch", "--after", "ffffffff", "--", "true").code == 3


def test_unique_name_returns_the_unfinished_task(cli: Cli):
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
def test_session_comes_from_the_option_or_the_environment(
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: tuple[str, ...],
    parent: str | None,
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched(cli, *words, "--", "true")["parentSessionId"] == parent


def test_environment_keeps_path_locale_and_requested_variables(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch):
    (home / "config.toml").write_text('pass_env = ["MY_*"]\n')
    for name in ("LC_TIME", "MY_OWN", "OTHER", "CLAUDE_CODE_SSE_PORT", "HERE", "SECRET"):
        monkeypatch.setenv(name, f"{name}!")
    words = ("--env", "A=1=2", "--env", "HERE", "--secret", "SECRET", "--env", "EMPTY=")
    task = launched(cli, *words, "--", "true")
    found = env_of(home, task["id"])
    assert found["PATH"] == os.environ["PATH"]
    assert (found["LC_TIME"], found["MY_OWN"]) == ("LC_TIME!", "MY_OWN!")
    assert (found["A"], found["EMPTY"], found["HERE"], found["SECRET"]) == ("1=2", "", "HERE!", None)
    assert not {"OTHER", "CLAUDE_CODE_SSE_PORT", "BACKBURNER_HOME"} & found.keys()
    assert {"PATH", "LC_TIME", "MY_OWN", "A", "EMPTY", "HERE", "SECRET"} <= set(task["envNames"])
    assert {"OTHER", "CLAUDE_CODE_SSE_PORT"} <= set(task["envDropped"])
    assert not set(task["envNames"]) & set(task["envDropped"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--env", "NOT_SET"), "--env: NOT_SET is not set here; use NOT_SET=VALUE"),
        (("--env", "A=1", "--secret", "A"), "--secret: A has a value in env already"),
        (("--secret", "A=1"), "'A' must be a name without a value, which would be stored"),
        (("--env-file", "none"), "--env-file: cannot read none: No such file or directory"),
        (("--env-file", "bad"), "--env-file: bad, line 2: NOT_SET is not set here; use NOT_SET=VALUE"),
        (("--env-file", "text"), "--env-file: text, line 1: expected NAME=VALUE, got 'not a name'"),
        (("--env", "not a name"), "--env: expected NAME=VALUE, got 'not a name'"),
        (("--agent-arg=-x",), "--agent-arg: only an agent with a prompt has further arguments"),
    ],
)
def test_variable_without_a_value_is_refused(cli: Cli, tmp_path: Path, words: tuple[str, ...], message: str):
    (tmp_path / "bad").write_text("A=1\nNOT_SET\n")
    (tmp_path / "text").write_text("not a name\n")
    done = cli("launch", "--no-up", *words, "--", "true")
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_env_file_sets_variables_that_env_overrides(cli: Cli, home: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HERE", "here")
    (tmp_path / "file").write_text("# comment\n\nexport A=1\nB = 'two words' \nHERE\nC=a=b # c\n")
    found = env_of(home, launched(cli, "--env", "A=2", "--env-file", "file", "--", "true")["id"])
    assert {name: found[name] for name in "ABC"} == {"A": "2", "B": "two words", "C": "a=b # c"}
    assert found["HERE"] == "here"


def test_secret_is_not_stored_although_the_environment_is_inherited(cli: Cli, home: Path, monkeypatch):
    monkeypatch.setenv("TOKEN", "very-secret")
    found = env_of(home, launched(cli, "--inherit-env", "--secret", "TOKEN", "--", "true")["id"])
    assert found["TOKEN"] is None


def test_secret_that_the_new_supervisor_will_lack_is_noted(cli: Cli, monkeypatch):
    assert "the supervisor has no ABSENT" in cli("launch", "--no-up", "--secret", "ABSENT", "--", "true").err
    monkeypatch.setenv("ABSENT", "x")
    assert cli("launch", "--no-up", "--secret", "ABSENT", "--", "true").err == ""


@pytest.mark.usefixtures("supervised")
def test_secret_that_the_running_supervisor_lacks_is_noted(cli: Cli, monkeypatch):
    monkeypatch.setenv("ABSENT", "x")
    assert "the supervisor has no ABSENT" in cli("launch", "--secret", "ABSENT", "--", "true").err
    assert cli("launch", "--secret", "PATH", "--", "true").err == ""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the whole PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_launch_of_an_agent_that_is_not_installed_is_noted(cli: Cli, programs: Path):
    done = cli("launch", "--no-up", "--agent", "codex", "hi")
    assert done.code == 0
    assert f"codex is not installed, so the task will fail (in the task's PATH: {programs})" in done.err
    (programs / "codex").write_text("#!/bin/sh\n")
    (programs / "codex").chmod(0o755)
    assert "installed" not in cli("launch", "--no-up", "--agent", "codex", "hi").err


def test_credentials_of_the_agent_travel_and_marks_of_a_session_do_not(cli: Cli, home: Path, monkeypatch):
    for name in ("CODEX_API_KEY", "CODEX_SANDBOX", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"):
        monkeypatch.setenv(name, "x")
    found = env_of(home, launched(cli, "--agent", "codex", "hi")["id"])
    assert (found["CODEX_API_KEY"], found["CODEX_HOME"]) == ("x", None)
    assert not {"CODEX_SANDBOX", "ANTHROPIC_API_KEY"} & found.keys()
    found = env_of(home, launched(cli, "--agent", "claude", "hi")["id"])
    assert (found["ANTHROPIC_API_KEY"], found["CLAUDE_CODE_OAUTH_TOKEN"]) == ("x", "x")
    assert "CODEX_API_KEY" not in found


def test_variable_that_is_not_utf8_is_named(cli: Cli, monkeypatch):
    monkeypatch.setenv("LATIN", os.fsdecode(b"\xe9"))
    assert "UTF-8" not in cli("launch", "--no-up", "--", "true").err
    done = cli("launch", "--no-up", "--json", "--inherit-env", "--", "true")
    assert "not handed on, because it is not valid UTF-8: LATIN" in done.err
    assert "LATIN" in done.json["envDropped"]


def test_umask_of_the_launcher_is_stored(cli: Cli):
    before = os.umask(0o027)
    try:
        assert launched(cli, "--", "true")["umask"] == "0027"
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_inherit_env_omits_the_variables_of_a_session(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTHER", "1")
    monkeypatch.setenv("CLAUDECODE", "1")
    found = env_of(home, launched(cli, "--inherit-env", "--env", "CODEX_X=1", "--", "true")["id"])
    assert found["OTHER"] == "1"
    assert found["CODEX_X"] == "1"
    assert "CLAUDECODE" not in found


def test_stdin_file_is_copied_at_launch(cli: Cli, home: Path, tmp_path: Path):
    (tmp_path / "text").write_text("as it was")
    assert cli("launch", "--stdin", "text", "--cwd", "/", "--", "cat").code == 0
    (tmp_path / "text").write_text("as it is")
    assert [path.read_text() for path in Home(home).input("x").parent.iterdir()] == ["as it was"]


def test_tasks_of_a_file_are_queued_in_order(cli: Cli, tmp_path: Path):
    lines = [{"command": ["echo", str(number)]} for number in range(3)]
    lines[1]["model"] = "haiku"
    (tmp_path / "tasks.ndjson").write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    result = cli("launch", "--from-file", "tasks.ndjson", "--parent", "ses-1", "--model", "opus")
    assert result.code == 0
    tasks = [cli("show", "--json", id).json for id in result.out.split()]
    assert [task["command"][1] for task in tasks] == ["0", "1", "2"]
    assert [task["model"] for task in tasks] == ["opus", "haiku", "opus"]
    assert {task["parentSessionId"] for task in tasks} == {"ses-1"}


def test_tasks_are_read_from_stdin(cli: Cli):
    result = cli("launch", "--from-file", "-", "--json", stdin=b'{"command": ["a"]}\n{"command": ["b"]}')
    assert [task["command"] for task in result.json] == [["a"], ["b"]]


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
def test_invalid_line_is_named_and_nothing_is_queued(cli: Cli, tmp_path: Path, line: str, why: str):
    (tmp_path / "tasks").write_text(f'{{"command": ["true"]}}\n\n{line}\n')
    result = cli("launch", "--from-file", "tasks")
    assert result.code == 2
    assert "tasks, line 3" in result.err
    assert why in result.err
    assert cli("list", "--json").json == []


def test_unreadable_file_of_tasks_is_named(cli: Cli):
    result = cli("launch", "--from-file", "nowhere")
    assert result.code == 2
    assert "--from-file: cannot read nowhere" in result.err


def test_launch_reports_all_mistakes_in_the_configuration(cli: Cli, home: Path):
    (home / "config.toml").write_text("max_workers = 0\nnope = 1\n")
    result = cli("launch", "--", "true")
    assert result.code == 100
    assert "max_workers" in result.err
    assert "nope" in result.err


def test_launch_beyond_the_cap_of_a_session_exits_with_111(cli: Cli, home: Path):
    (home / "config.toml").write_text("max_tasks_per_parent = 1\n")
    assert cli("launch", "--parent", "p", "--", "true").code == 0
    assert cli("launch", "--parent", "p", "--", "true").code == 111


def test_launch_stores_tags_in_the_order_given(cli: Cli):
    id = cli("launch", "--no-up", "--tag", "nightly", "--tag", "docs/v2", "--", "true").out.strip()
    assert json.loads(cli("show", "--json", id).out)["tags"] == ["nightly", "docs/v2"]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["two words"], "--tag: expected 1 to 64 of"),
        (["x" * 65], "--tag: expected 1 to 64 of"),
        ([f"t{number}" for number in range(17)], "--tag: expected a list of at most 16 items, got a list of 17"),
    ],
)
def test_launch_refuses_tags_of_another_shape(cli: Cli, tags: list[str], message: str):
    done = cli("launch", "--no-up", *(word for tag in tags for word in ("--tag", tag)), "--", "true")
    assert done.code == 2
    assert message in done.err


def test_launch_like_a_task_repeats_it_with_changes(cli: Cli, home: Path, tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "input").write_text("text")
    words = (
        "--cwd",
        "work",
        "--env",
        "A=1",
        "--env",
        "B=2",
        "-d",
        "first",
        "--tag",
        "t",
        "--retries",
        "3",
        "-k",
        "key",
    )
    more = ("--unique", "one", "--stdin", "input", "--timeout", "1m", "--priority", "4", "--metadata", '{"m": 1}')
    first = launched(cli, *words, *more, "--", "make", "a")
    again = launched(cli, "--like", first["id"][3:11])
    same = (
        "command",
        "cwd",
        "description",
        "tags",
        "maxAttempts",
        "concurrencyKey",
        "timeoutMs",
        "priority",
        "metadata",
    )
    assert {name: again[name] for name in same} == {name: first[name] for name in same}
    assert again["id"] != first["id"]
    assert again["uniqueKey"] is None
    changed = launched(cli, "--like", "-", "--env", "B=3", "--timeout", "2m", "--cwd", ".", "--", "make", "b")
    assert (changed["command"], changed["timeoutMs"], changed["cwd"]) == (["make", "b"], 120_000, str(tmp_path))
    assert (changed["description"], changed["concurrencyKey"]) == ("first", "key")
    export = {task["id"]: task for task in cli("export").json["tasks"]}
    variables = [{name: env_of(home, task["id"])[name] for name in "AB"} for task in (again, changed)]
    assert variables == [{"A": "1", "B": "2"}, {"A": "1", "B": "3"}]
    assert [base64.b64decode(export[task["id"]]["stdinData"]) for task in (again, changed)] == [b"text", b"text"]


def test_launch_like_another_kind_of_task(cli: Cli):
    prompt = launched(cli, "--agent", "external", "--model", "opus", "look")
    assert (prompt["agent"], prompt["concurrencyKey"]) == ("external", "opus")
    other = launched(cli, "--like", "-", "--model", "haiku", "look again")
    assert (other["prompt"], other["agent"], other["concurrencyKey"]) == ("look again", "external", "haiku")
    command = launched(cli, "--like", "-", "-c", "make")
    assert (command["prompt"], command["agent"], command["command"]) == (None, "command", ["sh", "-c", "make"])
    assert cli("launch", "--like", "ffffffff").code == 3
    assert cli("launch", "--like", "-", "--from-file", "-").code == 2


def test_task_in_a_file_may_come_after_one_further_down(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first, second, third, other = (f"bg-{digit * 8}-0000-4000-8000-000000000000" for digit in "1234")
    lines = [
        {"id": third, "command": ["c"], "after": [second]},
        {"id": other, "command": ["x"]},
        {"id": second, "command": ["b"], "afterAny": [first]},
        {"id": first, "command": ["a"]},
    ]
    Path("tasks").write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, lines)).encode())
    result = cli("launch", "--from-file", "tasks")
    assert (result.code, result.out.split()) == (0, [third, other, second, first]), result.err
    assert cli("show", "--json", third).json["waitingFor"] == "dependency"
    newest = [task["id"] for task in cli("list", "--json").json]
    assert newest == [third, second, first, other]


def test_tasks_in_a_file_that_wait_for_each_other_are_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    first, second = (f"bg-{digit * 8}-0000-4000-8000-000000000000" for digit in "12")
    for pairs in ([(first, second), (second, first)], [(first, first)]):
        lines = [json.dumps({"id": id, "command": ["a"], "after": [after]}) for id, after in pairs]
        Path("tasks").write_text("\n".join(lines))
        result = cli("launch", "--from-file", "tasks")
        assert (result.code, result.out) == (2, "")
        assert "wait for each other" in result.err
        assert all(id in result.err for id, _ in pairs)


def test_pipe_is_read_to_its_end_for_the_stdin_of_a_task(cli: Cli, home: Path, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=("from a pipe",)).start()
    assert cli("launch", "--stdin", str(pipe), "--", "cat").code == 0
    (copy,) = (home / "input").iterdir()
    assert copy.read_text() == "from a pipe"
