from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from backburner.ipc.api.control import program
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from tests.helpers.commands import backburner
from tests.helpers.wait import eventually
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"

#: Writes a line, and another one when a file is there.
FIRST_AND_LAST = """
import os, select
print("first", flush=True)
while not os.path.exists({flag!r}):
    select.select([], [], [], 0.01)
print("last")
"""


def said(home: Path, *words: str, stdin: str | None = None) -> str:
    """What a command that must succeed says."""
    done = backburner(home, *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(home: Path, id: str) -> dict:
    return dict(json.loads(said(home, "show", "--json", id)))


def launched(home: Path, *words: str) -> str:
    return said(home, "launch", *words).strip()


def running(home: Path, *words: str) -> str:
    """A task that runs until it is ended from outside."""
    id = launched(home, *words, "--", sys.executable, "-c", "import signal; signal.pause()")
    eventually(lambda: shown(home, id)["pid"])
    return id


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie, which a container without an init never loses."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@contextmanager
def started(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the test does."""
    command = program("--home", str(home), *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_run_passes_both_streams_on_apart_and_exits_as_the_command_did(supervised: Path):
    done = backburner(supervised, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_run_exits_with_the_codes_of_a_shell(supervised: Path, command: tuple[str, ...], code: int):
    assert backburner(supervised, "run", "--", *command).returncode == code


def test_run_exits_with_1_when_the_task_was_ended_otherwise(supervised: Path):
    done = backburner(supervised, "run", "--timeout", "50ms", "--", "sleep", "60")
    assert done.returncode == 1
    assert "timeout" in done.stderr


def test_run_passes_output_on_while_the_task_runs(supervised: Path, tmp_path: Path):
    flag = tmp_path / "flag"
    script = FIRST_AND_LAST.format(flag=str(flag))
    with started(supervised, "run", "--", sys.executable, "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        flag.touch()
        assert process.stdout.read() == "last\n"
        assert process.wait() == 0


def test_run_passes_much_output_on_whole(supervised: Path):
    script = "import sys; sys.stdout.write('x' * 3_000_000); sys.stderr.write('y' * 3_000_000)"
    done = backburner(supervised, "run", "--", sys.executable, "-c", script)
    assert (done.stdout, done.stderr) == ("x" * 3_000_000, "y" * 3_000_000)


def test_run_prints_the_task_instead_of_its_output_when_json_is_asked_for(supervised: Path):
    done = backburner(supervised, "run", "--json", "--", "sh", "-c", "echo out; exit 7")
    assert done.returncode == 7
    assert json.loads(done.stdout)["exitCode"] == 7


def test_ctrl_c_cancels_what_run_runs_with_its_whole_tree(supervised: Path):
    with Terminal("--home", str(supervised), "run", "--", "sh", "-c", "echo $$; sleep 600 & wait") as terminal:
        pid = int(terminal.see(r"(\d+)\n")[1])
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert not lives(pid)
    assert shown(supervised, "-")["status"] == "cancelled"


def test_run_and_wait_wait_for_a_supervisor_and_say_so(home: Path, no_strays: None):
    with started(home, "run", "--", "echo", "hi") as run:
        assert run.stderr is not None
        assert "no supervisor is running for" in run.stderr.readline()
        with started(home, "wait") as wait:
            assert wait.stderr is not None
            assert "no supervisor is running for" in wait.stderr.readline()
            said(home, "up", "--detach")
            assert (run.stdout and run.stdout.read(), run.wait()) == ("hi\n", 0)
            assert wait.wait() == 0
    said(home, "down")


def test_a_launch_starts_a_supervisor_when_it_is_asked_to(home: Path, no_strays: None):
    first = backburner(home, "run", "--up", "--", "echo", "hi")
    assert (first.returncode, first.stdout) == (0, "hi\n")
    assert backburner(home, "run", "--up", "--", "true").returncode == 0
    said(home, "down")


def test_a_launch_starts_a_supervisor_when_the_configuration_says_so(home: Path, no_strays: None):
    (home / "config.toml").write_text("autostart = true\n")
    id = launched(home, "--", "true")
    assert backburner(home, "wait", id).returncode == 0
    said(home, "down")


def test_output_is_followed_until_the_task_has_ended(supervised: Path, tmp_path: Path):
    flag = tmp_path / "flag"
    script = FIRST_AND_LAST.format(flag=str(flag))
    id = launched(supervised, "--", sys.executable, "-c", script)
    with started(supervised, "output", "--follow", id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        flag.touch()
        assert process.stdout.read() == "last\n"
        assert process.wait() == 0
    assert said(supervised, "output", id) == "first\nlast\n"
    assert said(supervised, "output", "--stderr", id) == ""


def test_each_try_is_followed_to_its_last_byte(supervised: Path, tmp_path: Path):
    (supervised / "config.toml").write_text("retry_base_ms = 0\n")
    said(supervised, "reload")
    size = 300_000
    write = "sys.stdout.write('x' * 300_000 + os.environ['BACKBURNER_ATTEMPT'])"
    last = f"import sys, os; {write}; sys.stdout.flush(); sys.exit(9)"
    wait = f"while [ ! -e {tmp_path}/go$BACKBURNER_ATTEMPT ]; do sleep 0.02; done"
    command = f'echo begin; {wait}; exec {sys.executable} -S -c "{last}"'
    id = launched(supervised, "--retries", "1", "--", "sh", "-c", command)
    with started(supervised, "output", "--follow", id) as process:
        assert process.stdout is not None
        for attempt in "12":
            assert process.stdout.readline() == "begin\n"
            (tmp_path / f"go{attempt}").touch()
            assert process.stdout.read(size + 1) == "x" * size + attempt
        assert process.stdout.read() == ""


def test_only_the_last_try_is_shown_of_a_task_that_was_tried_again(supervised: Path):
    (supervised / "config.toml").write_text("retry_base_ms = 0\n")
    said(supervised, "reload")
    done = backburner(supervised, "run", "--retries", "2", "--", "sh", "-c", "echo $BACKBURNER_ATTEMPT; exit 9")
    assert done.returncode == 9
    assert done.stdout.endswith("3\n")
    assert said(supervised, "output", "-") == "3\n"


def test_cancel_returns_when_the_whole_tree_is_gone(supervised: Path, tmp_path: Path):
    pids = tmp_path / "pids"
    id = launched(supervised, "--", "sh", "-c", f"setsid sleep 600 & echo $! > {pids}; echo $$ >> {pids}; sleep 600")
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert said(supervised, "cancel", id) == f"{id[3:11]} cancelled\n"
    assert [pid for pid in pids.read_text().split() if lives(int(pid))] == []


def test_a_task_speaks_of_itself_without_its_id(supervised: Path):
    progress, complete = (shlex.join(program(verb)) for verb in ("progress", "complete"))
    id = launched(supervised, "--", "sh", "-c", f"{progress} half && {complete} --result whole; sleep 600")
    assert backburner(supervised, "wait", id).returncode == 0
    task = shown(supervised, id)
    assert (task["status"], task["result"], task["progress"]) == ("completed", "whole", "half")


def test_waiting_tells_what_became_of_the_tasks(supervised: Path):
    launched(supervised, "--parent", "me", "--", "sleep", "0.2")
    launched(supervised, "--parent", "me", "--", "false")
    done = backburner(supervised, "wait", "--parent", "me")
    assert done.returncode in (0, 1)  # the quick one may have ended before
    ids = [task["id"] for task in json.loads(said(supervised, "list", "--json"))]
    done = backburner(supervised, "wait", *ids)
    assert (done.returncode, done.stdout) == (1, "2 background tasks finished: 1 completed, 1 failed.\n")


def test_events_are_heard_as_they_come_and_over_a_restart_each_exactly_once(supervised: Path):
    with started(supervised, "listen", "--parent", "me", "--ack") as process:
        assert process.stdout is not None
        first = launched(supervised, "--parent", "me", "--", "true")
        heard = [json.loads(process.stdout.readline()) for _ in range(3)]
        said(supervised, "down")
        second = launched(supervised, "--parent", "me", "--", "false")
        said(supervised, "up", "--detach")
        heard += [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [event["type"].rpartition("_")[2] for event in heard] == ["started", "completed", "batch"] * 2
    assert [event["seq"] for event in heard] == sorted({event["seq"] for event in heard})
    assert [event["taskId"] for event in heard if "taskId" in event] == [first] * 2 + [second] * 2
    assert heard[2]["message"] == "1 background task completed successfully."
    assert heard[5]["allComplete"] is True


def test_a_listener_waits_for_the_bus_and_says_so(home: Path, no_strays: None):
    with started(home, "listen", "--parent", "me", "--type", "background_tasks_batch") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "no supervisor is running for" in process.stderr.readline()
        launched(home, "--parent", "me", "--up", "--", "true")
        assert json.loads(process.stdout.readline())["count"] == 1
    said(home, "down")


def test_flush_delivers_before_the_window_ends(home: Path, no_strays: None):
    (home / "config.toml").write_text("notification_batch_window_ms = 600000\n")
    said(home, "up", "--detach")
    id = launched(home, "--parent", "me", "--", "true")
    said(home, "wait", id)
    said(home, "flush", "--parent", "me")
    told = said(home, "listen", "--parent", "me", "--until-now", "--type", "background_tasks_batch")
    assert json.loads(told)["count"] == 1
    said(home, "down")


def test_a_second_supervisor_is_refused(supervised: Path):
    for words in (("up",), ("up", "--detach")):
        done = backburner(supervised, *words)
        assert done.returncode == 100
        assert str(supervised) in done.stderr


def test_status_tells_who_runs_what(supervised: Path):
    id = running(supervised, "--key", "k")
    found = json.loads(said(supervised, "status", "--json"))
    assert found["supervisor"]["pid"] == holder(Home(supervised).lock("supervisor"))
    assert found["flusher"]["pid"]
    assert found["forkServer"]["pid"]
    worker = next(worker for worker in found["workers"] if worker["taskId"] == id)
    assert (worker["concurrencyKey"], worker["slot"], worker["adopted"]) == ("k", 0, False)
    assert id[3:11] in said(supervised, "status")
    said(supervised, "cancel", id)


def test_a_launch_on_a_terminal_says_how_many_are_ahead(supervised: Path):
    said(supervised, "limit", "opus", "1")
    ids = [running(supervised, "--model", "opus"), launched(supervised, "--model", "opus", "--", "true")]
    with Terminal("--home", str(supervised), "launch", "--model", "opus", "--", "true") as terminal:
        terminal.see(r"queued: 1 of 1 slots of 'opus' are in use, 1 task ahead")
    lines = said(supervised, "list", "--status", "pending").splitlines()
    assert "slot" in lines[1]
    said(supervised, "cancel", *reversed(ids))  # or the second had its turn


def test_what_still_runs_after_down_is_named_and_goes_on(home: Path, no_strays: None):
    (home / "config.toml").write_text("shutdown_grace_s = 0.1\n")
    said(home, "up", "--detach")
    id = running(home)
    down = backburner(home, "down")
    assert down.returncode == 0
    assert f"task {id[3:11]} is still running" in down.stderr
    assert shown(home, id)["status"] == "running"
    assert backburner(home, "down").returncode == 4
    assert said(home, "cancel", id) == f"{id[3:11]} cancelled\n"  # by its worker: there is no supervisor


def test_cancel_needs_neither_a_supervisor_nor_a_worker(supervised: Path):
    id = running(supervised)
    pid = shown(supervised, id)["pid"]
    found = json.loads(said(supervised, "status", "--json"))
    worker = next(worker["pid"] for worker in found["workers"] if worker["taskId"] == id)
    for victim in (found["supervisor"]["pid"], found["forkServer"]["pid"], worker):
        os.kill(victim, signal.SIGKILL)
    assert said(supervised, "cancel", id) == f"{id[3:11]} cancelled\n"
    assert not lives(pid)
    said(supervised, "up", "--detach")  # the flusher lives on, and goes with the next supervisor


def test_a_task_launched_while_nothing_runs_is_run_at_the_next_up(home: Path, no_strays: None):
    id = launched(home, "--", "echo", "hi")
    said(home, "up", "--detach")
    said(home, "wait", id)
    assert said(home, "output", id) == "hi\n"
    said(home, "down")


def test_reload_applies_a_changed_configuration(supervised: Path):
    (supervised / "config.toml").write_text("[model_concurrency]\nopus = 9\n")
    said(supervised, "reload")
    assert "opus    9" in said(supervised, "status")
    (supervised / "config.toml").write_text("max_workers = 0\n")
    done = backburner(supervised, "reload")
    assert done.returncode == 100
    assert "max_workers" in done.stderr


def test_reload_tells_what_the_supervisor_refuses_of_files_that_it_alone_reads(
    supervised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "backburner.toml").write_text("max_workers = 0\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "backburner.toml").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = backburner(supervised, "reload")
    assert (done.returncode, str(tmp_path / "backburner.toml") in done.stderr) == (100, True)
    (tmp_path / "backburner.toml").write_text("max_workers = 3\n")
    said(supervised, "reload")


def test_a_supervisor_does_not_start_on_a_broken_configuration(home: Path, no_strays: None):
    (home / "config.toml").write_text("max_workers = \n")
    for words in (("up",), ("up", "--detach")):
        done = backburner(home, *words)
        assert done.returncode == 100, done.stderr
        assert "config.toml:1" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_first_ctrl_c_takes_the_supervisor_down(home: Path, no_strays: None):
    with Terminal("--home", str(home), "up") as terminal:
        terminal.see("started: pid")
        eventually(lambda: said(home, "run", "--", "true") == "")
        terminal.press(CTRL_C)
        assert terminal.end() == 0
    assert holder(Home(home).lock("flusher")) is None


def test_a_home_on_a_long_path_works(home: Path, no_strays: None, monkeypatch: pytest.MonkeyPatch):
    deep = home.parent / ("x" * 100) / ("y" * 100) / ".backburner"
    monkeypatch.setenv("BACKBURNER_HOME", str(deep))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home.parent))
    said(deep, "up", "--detach")
    assert said(deep, "run", "--", "echo", "hi") == "hi\n"
    socket = json.loads(said(deep, "status", "--json"))["socket"]
    assert len(socket) < 104
    said(deep, "flush")
    said(deep, "down")


def test_many_tasks_of_a_file_run_and_are_waited_for(supervised: Path, tmp_path: Path):
    (tmp_path / "tasks").write_text('{"command": ["true"]}\n' * 50)
    ids = said(supervised, "launch", "--from-file", str(tmp_path / "tasks")).split()
    assert len(ids) == 50
    assert said(supervised, "wait", *ids) == "50 background tasks completed successfully.\n"


def test_a_verdict_needs_neither_a_supervisor_nor_a_worker(supervised: Path):
    id = running(supervised)
    found = json.loads(said(supervised, "status", "--json"))
    worker = next(worker["pid"] for worker in found["workers"] if worker["taskId"] == id)
    for victim in (found["supervisor"]["pid"], found["forkServer"]["pid"], worker):
        os.kill(victim, signal.SIGKILL)
    assert said(supervised, "complete", id, "--result", "ok") == f"{id[3:11]} completed\n"
    assert shown(supervised, id)["result"] == "ok"
    said(supervised, "up", "--detach")
