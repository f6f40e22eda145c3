"""A hook delivers unread notifications once, in its client's format, and never fails for the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.failpoints import WATCH
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import Lock
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.integrations.inbox import delivery_lock
from tests.helpers.queue_db import QueueDatabase

Done = subprocess.CompletedProcess[str]


def run(hook_input: Mapping[str, Any] | str, *words: str, shell: str = "") -> Done:
    """Run a hook as its client does, or inside the command `shell`, which gets the hook as `"$@"`."""
    if isinstance(hook_input, str):
        text = hook_input
    else:
        text = json.dumps({"session_id": "S", "cwd": os.getcwd(), **hook_input})
    command = [*(["bash", "-c", shell, "bash"] if shell else []), *program("hook", *words)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=50, check=False)


def response(event: str, *words: str, **more: Any) -> dict[str, Any] | None:
    """Run a hook at that event, which must succeed, and return its response."""
    done = run({"hook_event_name": event, **more}, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) if done.stdout else None


def context(event: str, *words: str, **more: Any) -> str | None:
    """Run a hook at that event and return the context for the model."""
    answer = response(event, *words, **more)
    if answer is None:
        return None
    assert answer.keys() == {"hookSpecificOutput"}
    assert answer["hookSpecificOutput"]["hookEventName"] == event
    return answer["hookSpecificOutput"]["additionalContext"]


def ended(queue_db: QueueDatabase, **more: Any) -> str:
    """Run a task of the session; its outcome is in no batch yet."""
    return queue_db.run(**{"parent_session_id": "S", **more})


@pytest.mark.parametrize(
    ("client", "event"),
    [
        *(("claude", event) for event in ("SessionStart", "UserPromptSubmit", "PostToolUse")),
        *(("codex", event) for event in ("SessionStart", "UserPromptSubmit", "PostToolUse")),
        *(("gemini", event) for event in ("SessionStart", "BeforeAgent", "AfterTool")),
    ],
)
def test_hook_delivers_an_outcome_once_without_a_supervisor(queue_db, client, event):
    id = ended(queue_db, description="count the lines")
    found = context(event, "--client", client)
    assert id in found
    assert "count the lines" in found
    assert context(event, "--client", client) is None


@pytest.mark.parametrize(
    ("client", "event", "word"),
    [("claude", "Stop", "block"), ("codex", "Stop", "block"), ("gemini", "AfterAgent", "deny")],
)
def test_stop_hook_makes_the_model_continue_with_unread_notifications(queue_db, client, event, word):
    id = ended(queue_db)
    answer = response(event, "--client", client)
    assert answer["decision"] == word
    assert id in answer["reason"]
    assert response(event, "--client", client) is None


def test_stop_hook_lets_a_model_stop_that_a_hook_has_continued(queue_db):
    id = ended(queue_db)
    assert response("Stop", stop_hook_active=True) is None
    assert id in context("UserPromptSubmit")


def test_subagent_does_not_get_the_notifications_of_its_session(queue_db):
    id = ended(queue_db)
    assert response("PostToolUse", agent_id="helper-1") is None
    assert id in context("PostToolUse")


def test_other_hook_events_deliver_nothing(queue_db):
    ended(queue_db)
    assert response("SessionEnd", reason="other") is None
    assert response("PreToolUse") is None


def test_failure_is_delivered_with_its_cause(queue_db):
    ended(queue_db)
    failing = queue_db.start(queue_db.launch(parent_session_id="S"))
    queue_db.settle(failing, TaskStatus.ERROR, error="No such\nfile", error_kind="exit")
    found = context("PostToolUse")
    assert "2 background tasks finished: 1 completed, 1 failed. You have no unfinished tasks." in found
    assert "error (exit)" in found
    assert "No such file" in found


def test_delivered_batch_is_all_complete_only_if_that_is_true_now(queue_db):
    ended(queue_db)
    queue_db.log.form_batch("S", 5)
    queue_db.launch(parent_session_id="S")
    assert "no unfinished" not in context("PostToolUse")


def test_notification_that_cannot_be_printed_is_not_acknowledged(queue_db):
    id = ended(queue_db)
    done = run({"hook_event_name": "PostToolUse"}, shell='"$@" > /dev/full')
    assert (done.returncode, "No space left" in done.stderr) == (0, True)
    assert id in context("PostToolUse")


@pytest.mark.parametrize("edge", ["before", "after"])
def test_hook_killed_while_it_prints_has_acknowledged_nothing(queue_db, monkeypatch, tmp_path, edge):
    id = ended(queue_db)
    (tmp_path / "order").write_text(
        json.dumps({"token": "t", "kill": f"command hook.tell@_deliver<_answer<answer_hook<_hook {edge}", "nth": 1})
    )
    monkeypatch.setenv(WATCH, str(tmp_path))
    done = run({"hook_event_name": "PostToolUse"})
    assert done.returncode == -9, (tmp_path / "t.reached").read_text()
    assert (id in done.stdout) is (edge == "after")
    (tmp_path / "order").unlink()
    assert id in context("PostToolUse")


def test_two_processes_never_deliver_to_a_session_at_once(queue_db, home):
    id = ended(queue_db)
    lock = Lock(Home(home).lock(delivery_lock("S")))
    assert lock.acquire()
    done = run({"hook_event_name": "PostToolUse"})
    assert (done.returncode, done.stdout) == (0, "")
    lock.release()
    assert id in context("PostToolUse")


@pytest.mark.parametrize(
    "hook_input",
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
def test_invalid_hook_input_is_no_failure_for_the_client(home, hook_input):
    done = run(hook_input)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ending", ["", "\n", "\n" + 300 * " "])
def test_hook_answers_complete_input_while_stdin_stays_open(queue_db, ending):
    id = ended(queue_db)
    document = {"hook_event_name": "PostToolUse", "session_id": "S", "cwd": os.getcwd(), "tool_response": 99_999 * "}"}
    with opened() as (process, stdin):
        stdin.write(b"\xef\xbb\xbf" + json.dumps(document).encode() + ending.encode())
        stdin.flush()
        assert process.wait(timeout=50) == 0
        assert id in process.stdout.read().decode()


@pytest.mark.parametrize("text", [b"", b'{"session_id": "S"'])
def test_hook_without_complete_input_ends_within_two_seconds(home, text):
    with opened() as (process, stdin):
        stdin.write(text)
        stdin.flush()
        assert process.wait(timeout=50) == 0
        assert process.stderr.read().startswith(b"backburner hook: no complete input")


def test_hook_ends_within_two_seconds_while_the_database_is_busy(queue_db, home):
    id = ended(queue_db)
    with queue_db.store.write():
        done = run({"hook_event_name": "PostToolUse"})
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: ")
    assert id in context("PostToolUse")


@contextmanager
def opened() -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Start a hook whose stdin stays open."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program("hook"), **pipes) as process:
        assert process.stdin is not None, "it is a pipe"
        yield process, process.stdin


@pytest.mark.parametrize("words", [("--client", "emacs"), ("--nonsense", "1"), ("--client",), ("word",)])
def test_invalid_hook_options_are_no_failure_for_the_client(home, words):
    done = run({"hook_event_name": "Stop"}, *words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: unknown")


def test_hook_creates_no_state_directory(monkeypatch, tmp_path):
    monkeypatch.delenv("BACKBURNER_HOME", raising=False)
    for name in ("", "gone"):
        assert response("SessionStart", cwd=str(tmp_path / name)) is None
    assert not (tmp_path / ".backburner").exists()


def test_hook_leaves_an_empty_state_directory_empty(home):
    assert response("SessionStart") is None
    assert list(home.iterdir()) == []


def test_hook_finds_the_state_directory_of_the_folder_or_project(queue_db, home, monkeypatch, tmp_path):
    id = ended(queue_db)
    monkeypatch.delenv("BACKBURNER_HOME")
    assert response("PostToolUse", cwd="/") is None
    monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(home.parent))
    assert id in context("PostToolUse", cwd=str(tmp_path))


@pytest.mark.parametrize("cwd", [None, "", 7])
def test_hook_input_without_a_folder_means_the_current_one(queue_db, home, monkeypatch, cwd):
    hook_input = json.dumps({"session_id": "S", "hook_event_name": "PostToolUse", "cwd": cwd})
    monkeypatch.delenv("BACKBURNER_HOME")
    first = ended(queue_db)
    assert first in run(hook_input, "--home", str(home)).stdout
    second = ended(queue_db)
    assert run(hook_input).stdout == ""
    monkeypatch.chdir(home.parent)
    assert second in run(hook_input).stdout


@pytest.mark.parametrize("trouble", ["foreign", "damaged", "newer"])
def test_unusable_state_directory_is_no_failure_for_the_client(queue_db, home, trouble):
    ended(queue_db)
    if trouble == "foreign":
        home.chmod(0o777)
    elif trouble == "damaged":
        queue_db.store.close()
        (home / "backburner.db").write_bytes(b"x" * 8192)
    else:
        import sqlite3

        with sqlite3.connect(home / "backburner.db") as raw:
            raw.execute("PRAGMA user_version = 99")
    done = run({"hook_event_name": "PostToolUse"})
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("backburner hook: ")


def test_broken_configuration_does_not_stop_a_hook(queue_db, home):
    (home / "config.toml").write_text("max_workers = [")
    id = ended(queue_db)
    assert id in context("PostToolUse")


def test_hook_repeats_a_batch_while_the_disk_is_full(queue_db):
    id = ended(queue_db)
    queue_db.log.form_batch("S", 5)
    response("PreToolUse")  # stores the session of this process
    done = run({"hook_event_name": "PostToolUse"}, shell='ulimit -f 0; "$@"')
    assert done.returncode == 0
    assert done.stderr.startswith("backburner hook: ")
    assert id in context("PostToolUse")


def test_closed_streams_are_no_failure_for_the_client(queue_db):
    id = ended(queue_db)
    for closed in ("<&-", ">&-", "2>&-"):
        done = run({"hook_event_name": "PostToolUse"}, shell=f'"$@" {closed}')
        assert (done.returncode, done.stdout) == (0, "")
    assert id in context("PostToolUse")


def test_session_with_a_new_id_adopts_the_former_one(queue_db):
    """`/clear` does this: the same process has another ID, and nothing names the former one."""
    response("UserPromptSubmit")
    running = queue_db.start(queue_db.launch(parent_session_id="S"))
    unread = queue_db.run(parent_session_id="S", concurrency_key="other")
    assert unread in context("SessionStart", session_id="T", source="clear")
    queue_db.settle(running)
    assert running.id in context("UserPromptSubmit", session_id="T")
    late = queue_db.get(queue_db.launch(parent_session_id="S"))  # by a server started under the former ID
    assert late.parent_session_id == "T"


def test_resumed_session_takes_back_what_was_adopted(queue_db):
    response("UserPromptSubmit")
    ended(queue_db)
    context("SessionStart", session_id="T", source="clear")
    waiting = queue_db.run(parent_session_id="T")
    assert waiting in context("SessionStart", session_id="S", source="resume")
    assert response("UserPromptSubmit", session_id="S") is None
    assert queue_db.get(queue_db.launch(parent_session_id="T")).parent_session_id == "S"


def test_sessions_that_share_a_process_are_kept_apart(queue_db):
    """A server of Codex for an editor does this; only `clear` continues a session under another ID."""
    ids = {name: ended(queue_db, parent_session_id=name) for name in "ST"}
    for name in "STST":
        response("UserPromptSubmit", "--client", "codex", session_id=name, stop_hook_active=True)
    assert context("SessionStart", "--client", "codex", session_id="U", source="startup") is None
    more = {name: ended(queue_db, parent_session_id=name) for name in "ST"}
    found = {name: context("PostToolUse", "--client", "codex", session_id=name) for name in "TS"}
    assert all(more[name] in found[name] and ids[name] not in found[name] for name in "ST")
    assert all(more[other] not in found[name] for name, other in ("ST", "TS"))
    last = ended(queue_db, parent_session_id="S")
    assert last in context("SessionStart", "--client", "codex", session_id="V", source="clear")


#: A separate client that runs two hooks, one for each session.
CLIENT = 'for text in "$FIRST" "$SECOND"; do printf %s "$text" | "$@"; done; read -r _'


def test_session_of_another_living_client_is_not_adopted(queue_db, monkeypatch):
    """A conversation that is forked while it continues elsewhere does this."""
    response("UserPromptSubmit")
    id = ended(queue_db)
    monkeypatch.setenv("FIRST", json.dumps({"session_id": "S", "hook_event_name": "SessionEnd", "cwd": "/"}))
    monkeypatch.setenv("SECOND", json.dumps({"session_id": "F", "hook_event_name": "PostToolUse", "cwd": "/"}))
    client = ["python3", "-c", "import subprocess, sys; subprocess.run(['bash', '-c', *sys.argv[1:]])"]
    command = [*client, CLIENT, "bash", *program("hook")]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert id in context("PostToolUse")


def test_hook_does_not_import_heavy_modules(queue_db, home):
    """They would take a third of the time that a hook should take."""
    ended(queue_db)
    code = (
        "import sys\n"
        "from backburner.supervisor.cli import main; main(['hook'])\n"
        "heavy = {'click', 'sqlite_utils', 'psutil', 'mcp', 'asyncio', 'subprocess', 'logging', 'uuid'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    hook_input = json.dumps({"session_id": "S", "hook_event_name": "PostToolUse", "cwd": str(Path.cwd())})
    root = str(Path(program()[-1].split("root = '")[1].split("'")[0]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=hook_input,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr
