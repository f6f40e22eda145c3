"""A hook tells what was not told yet, once, in its client's form, and never fails the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.failpoints import WATCH
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import Lock
from backburner.ipc.model.task import TaskStatus
from backburner.ipc.store.inbox import turn_of
from tests.helpers.yard import Yard

Done = subprocess.CompletedProcess[str]


def ask(question: Mapping[str, Any] | str, *words: str, shell: str = "") -> Done:
    """Run a hook as its client does; `shell` stands around it, with the hook as `"$@"`."""
    text = question if isinstance(question, str) else json.dumps({"session_id": "S", "cwd": os.getcwd(), **question})
    command = [*(["bash", "-c", shell, "bash"] if shell else []), *program("hook", *words)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=50, check=False)


def said(event: str, *words: str, **more: Any) -> dict[str, Any] | None:
    """What a hook answers at that event; it is well whatever it answers."""
    done = ask({"hook_event_name": event, **more}, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) if done.stdout else None


def context(event: str, *words: str, **more: Any) -> str | None:
    """What the model reads of that answer."""
    answer = said(event, *words, **more)
    if answer is None:
        return None
    assert answer.keys() == {"hookSpecificOutput"}
    assert answer["hookSpecificOutput"]["hookEventName"] == event
    return answer["hookSpecificOutput"]["additionalContext"]


def ended(yard: Yard, **more: Any) -> str:
    """A task of the session that ended, and that no batch tells of yet."""
    return yard.run(**{"parent_session_id": "S", **more})


@pytest.mark.parametrize(
    ("client", "event"),
    [
        *(("claude", event) for event in ("SessionStart", "UserPromptSubmit", "PostToolUse")),
        *(("codex", event) for event in ("SessionStart", "UserPromptSubmit", "PostToolUse")),
        *(("gemini", event) for event in ("SessionStart", "BeforeAgent", "AfterTool")),
    ],
)
def test_what_has_ended_is_told_once_without_a_supervisor(yard, client, event):
    id = ended(yard, description="count the lines")
    told = context(event, "--client", client)
    assert id in told
    assert "count the lines" in told
    assert context(event, "--client", client) is None


@pytest.mark.parametrize(
    ("client", "event", "word"),
    [("claude", "Stop", "block"), ("codex", "Stop", "block"), ("gemini", "AfterAgent", "deny")],
)
def test_a_model_that_would_stop_goes_on_with_what_it_was_not_told(yard, client, event, word):
    id = ended(yard)
    answer = said(event, "--client", client)
    assert answer["decision"] == word
    assert id in answer["reason"]
    assert said(event, "--client", client) is None


def test_a_model_that_goes_on_because_of_a_hook_may_stop_and_is_told_later(yard):
    id = ended(yard)
    assert said("Stop", stop_hook_active=True) is None
    assert id in context("UserPromptSubmit")


def test_helpers_of_a_session_are_not_told_its_notices(yard):
    id = ended(yard)
    assert said("PostToolUse", agent_id="helper-1") is None
    assert id in context("PostToolUse")


def test_other_events_tell_nothing(yard):
    ended(yard)
    assert said("SessionEnd", reason="other") is None
    assert said("PreToolUse") is None


def test_failures_are_told_with_their_cause(yard):
    ended(yard)
    failing = yard.start(yard.launch(parent_session_id="S"))
    yard.settle(failing, TaskStatus.ERROR, error="No such\nfile", error_kind="exit")
    told = context("PostToolUse")
    assert "2 background tasks finished: 1 completed, 1 failed. No task of yours is left." in told
    assert "error (exit)" in told
    assert "No such file" in told


def test_that_nothing_is_left_is_said_of_now_and_not_of_when_the_notice_was_made(yard):
    ended(yard)
    yard.log.form_batch("S", 5)
    yard.launch(parent_session_id="S")
    assert "is left" not in context("PostToolUse")


def test_what_could_not_be_printed_is_not_acknowledged(yard):
    id = ended(yard)
    done = ask({"hook_event_name": "PostToolUse"}, shell='"$@" > /dev/full')
    assert (done.returncode, "No space left" in done.stderr) == (0, True)
    assert id in context("PostToolUse")


@pytest.mark.parametrize("edge", ["before", "after"])
def test_killed_while_it_prints_it_has_acknowledged_nothing(yard, monkeypatch, tmp_path, edge):
    id = ended(yard)
    (tmp_path / "order").write_text(
        json.dumps({"token": "t", "kill": f"command hook.tell@_answer<answer_hook<_hook {edge}", "nth": 1})
    )
    monkeypatch.setenv(WATCH, str(tmp_path))
    done = ask({"hook_event_name": "PostToolUse"})
    assert done.returncode == -9, (tmp_path / "t.reached").read_text()
    assert (id in done.stdout) is (edge == "after")
    (tmp_path / "order").unlink()
    assert id in context("PostToolUse")


def test_while_somebody_else_tells_nothing_is_told_twice(yard, home):
    id = ended(yard)
    lock = Lock(Home(home).lock(turn_of("S")))
    assert lock.acquire()
    done = ask({"hook_event_name": "PostToolUse"})
    assert (done.returncode, done.stdout) == (0, "")
    lock.release()
    assert id in context("PostToolUse")


@pytest.mark.parametrize(
    "question",
    [
        "",
        "garbage",
        "[]",
        "{}",
        '{"session_id": 7, "hook_event_name": "Stop"}',
        "\xff",
        '{"session_id": "S"}',
        "[" * 99999,
    ],
)
def test_garbage_is_answered_with_nothing_and_success(home, question):
    done = ask(question)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--client", "emacs"), ("--nonsense", "1"), ("--client",), ("word",)])
def test_nonsense_on_its_command_line_is_no_failure_either(home, words):
    done = ask({"hook_event_name": "Stop"}, *words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: unknown")


def test_no_home_is_made_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.delenv("BACKBURNER_HOME", raising=False)
    for name in ("", "gone"):
        assert said("SessionStart", cwd=str(tmp_path / name)) is None
    assert not (tmp_path / ".backburner").exists()


def test_a_home_without_a_database_is_left_as_it_is(home):
    assert said("SessionStart") is None
    assert list(home.iterdir()) == []


def test_the_homes_are_sought_from_the_sessions_folder_and_from_its_project(yard, home, monkeypatch, tmp_path):
    id = ended(yard)
    monkeypatch.delenv("BACKBURNER_HOME")
    assert said("PostToolUse", cwd="/") is None
    monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(home.parent))
    assert id in context("PostToolUse", cwd=str(tmp_path))


@pytest.mark.parametrize("cwd", [None, "", 7])
def test_a_question_without_a_folder_is_about_the_one_it_is_asked_in(yard, home, monkeypatch, cwd):
    question = json.dumps({"session_id": "S", "hook_event_name": "PostToolUse", "cwd": cwd})
    monkeypatch.delenv("BACKBURNER_HOME")
    first = ended(yard)
    assert first in ask(question, "--home", str(home)).stdout
    second = ended(yard)
    assert ask(question).stdout == ""
    monkeypatch.chdir(home.parent)
    assert second in ask(question).stdout


@pytest.mark.parametrize("trouble", ["foreign", "damaged", "newer"])
def test_a_home_that_cannot_be_used_is_no_failure(yard, home, trouble):
    ended(yard)
    if trouble == "foreign":
        home.chmod(0o777)
    elif trouble == "damaged":
        yard.database.close()
        (home / "backburner.db").write_bytes(b"x" * 8192)
    else:
        import sqlite3

        with sqlite3.connect(home / "backburner.db") as raw:
            raw.execute("PRAGMA user_version = 99")
    done = ask({"hook_event_name": "PostToolUse"})
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: ")


def test_a_broken_configuration_is_no_failure(yard, home):
    (home / "config.toml").write_text("max_workers = [")
    id = ended(yard)
    assert id in context("PostToolUse")


def test_on_a_full_disk_it_tells_what_is_in_a_batch_again_and_again(yard):
    id = ended(yard)
    yard.log.form_batch("S", 5)
    said("PreToolUse")  # who asks is known from here on
    done = ask({"hook_event_name": "PostToolUse"}, shell='ulimit -f 0; "$@"')
    assert done.returncode == 0
    assert done.stderr.startswith("backburner hook: ")
    assert id in context("PostToolUse")


def test_streams_that_the_client_closed_are_no_failure(yard):
    id = ended(yard)
    for closed in ("<&-", ">&-", "2>&-"):
        done = ask({"hook_event_name": "PostToolUse"}, shell=f'"$@" {closed}')
        assert (done.returncode, done.stdout) == (0, "")
    assert id in context("PostToolUse")


def test_a_client_whose_session_has_another_id_now_is_told_what_the_former_waits_for(yard):
    """As `/clear` does it: the same process, another id, and no word about the former one."""
    said("UserPromptSubmit")
    running = yard.start(yard.launch(parent_session_id="S"))
    unread = yard.run(parent_session_id="S", concurrency_key="other")
    assert unread in context("SessionStart", session_id="T", source="clear")
    yard.settle(running)
    assert running.id in context("UserPromptSubmit", session_id="T")
    late = yard.get(yard.launch(parent_session_id="S"))  # by a server that the client started under the former id
    assert late.parent_session_id == "T"


def test_a_session_that_is_resumed_gets_back_what_was_handed_over(yard):
    said("UserPromptSubmit")
    ended(yard)
    context("SessionStart", session_id="T", source="clear")
    waiting = yard.run(parent_session_id="T")
    assert waiting in context("SessionStart", session_id="S", source="resume")
    assert said("UserPromptSubmit", session_id="S") is None
    assert yard.get(yard.launch(parent_session_id="T")).parent_session_id == "S"


def test_a_client_with_several_sessions_in_one_process_mixes_none_of_them(yard):
    """As a server of Codex for an editor; only `clear` says that one goes on as another."""
    ids = {name: ended(yard, parent_session_id=name) for name in "ST"}
    for name in "STST":
        said("UserPromptSubmit", "--client", "codex", session_id=name, stop_hook_active=True)
    assert context("SessionStart", "--client", "codex", session_id="U", source="startup") is None
    more = {name: ended(yard, parent_session_id=name) for name in "ST"}
    told = {name: context("PostToolUse", "--client", "codex", session_id=name) for name in "TS"}
    assert all(more[name] in told[name] and ids[name] not in told[name] for name in "ST")
    assert all(more[other] not in told[name] for name, other in ("ST", "TS"))
    last = ended(yard, parent_session_id="S")
    assert last in context("SessionStart", "--client", "codex", session_id="V", source="clear")


#: A client of its own, that asks twice: once for each session.
CLIENT = 'for question in "$FIRST" "$SECOND"; do printf %s "$question" | "$@"; done; read -r _'


def test_a_session_that_another_living_client_has_is_left_to_it(yard, monkeypatch):
    """As a conversation that is forked while it goes on elsewhere."""
    said("UserPromptSubmit")
    id = ended(yard)
    monkeypatch.setenv("FIRST", json.dumps({"session_id": "S", "hook_event_name": "SessionEnd", "cwd": "/"}))
    monkeypatch.setenv("SECOND", json.dumps({"session_id": "F", "hook_event_name": "PostToolUse", "cwd": "/"}))
    client = ["python3", "-c", "import subprocess, sys; subprocess.run(['bash', '-c', *sys.argv[1:]])"]
    command = [*client, CLIENT, "bash", *program("hook")]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert id in context("PostToolUse")


def test_the_libraries_of_the_command_line_are_not_loaded_for_it(yard, home):
    """They would take a third of the time that a client should wait at most."""
    ended(yard)
    code = (
        "import sys, io; sys.stdin = io.TextIOWrapper(io.BytesIO(sys.argv[1].encode()))\n"
        "from backburner.supervisor.cli import main; main(['hook'])\n"
        "heavy = {'click', 'sqlite_utils', 'psutil', 'mcp', 'asyncio', 'subprocess', 'logging', 'uuid'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    question = json.dumps({"session_id": "S", "hook_event_name": "PostToolUse", "cwd": str(Path.cwd())})
    root = str(Path(program()[-1].split("root = '")[1].split("'")[0]))
    done = subprocess.run(
        [sys.executable, "-c", code, question],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr
