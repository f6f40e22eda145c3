"""Processes that are stopped while they keep everybody else out."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from backburner.ipc import clock
from backburner.ipc.api.control import program
from backburner.ipc.machine.lock import holder
from backburner.ipc.machine.proc import is_stopped
from backburner.ipc.store.sqlite.file.write_gate import PATIENCE as GATE_PATIENCE
from tests.acceptance.conftest import BRISK
from tests.helpers.stage import PATIENCE, Stage
from tests.helpers.wait import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is stopped")


@contextmanager
def locked(stage: Stage) -> Iterator[None]:
    """A stranger has the database's own lock: who writes waits for it, inside the gate."""
    with closing(sqlite3.connect(stage.home.database, timeout=PATIENCE, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        yield


def with_a_task_to_settle(stage: Stage) -> int:
    return stage.pid(stage.sleeper(concurrencyKey="dies"))


def with_a_batch_to_form(stage: Stage) -> int:
    stage.result("true", parentSessionId="p")
    return 0


def with_nothing(_stage: Stage) -> int:
    return 0


#: Per role: what gives it something to write, and what has it write that.
WRITES: dict[str, tuple[Callable[[Stage], int], Callable[[Stage, int], None]]] = {
    "supervisor": (with_nothing, lambda stage, _: os.kill(stage.pid_of("supervisor"), signal.SIGHUP)),
    "worker": (with_a_task_to_settle, lambda _, task: os.kill(task, signal.SIGKILL)),
    "flusher": (with_a_batch_to_form, lambda _stage, _: None),
}


def stopped_inside(stage: Stage, role: str) -> bool:
    """Stop a role while it waits inside the gate; whether it came there."""
    prepare, stir = WRITES[role]
    task = prepare(stage)
    pid = stage.status()["workers"][0]["pid"] if role == "worker" else stage.pid_of(role)
    with locked(stage):
        stir(stage, task)
        try:
            eventually(lambda: holder(stage.home.lock("gate")) == pid, 1)
        except AssertionError:  # too late: it had written before
            return False
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid), PATIENCE)
        return holder(stage.home.lock("gate")) == pid


@pytest.mark.parametrize("role", WRITES)
def test_a_role_that_is_stopped_inside_the_gate_keeps_nobody_out_for_five_seconds(stage: Stage, role: str):
    stage.up(**{**BRISK, "notification_batch_window_ms": 300}, worker_idle_s=60)
    eventually(lambda: stopped_inside(stage, role), PATIENCE, f"the {role} to be caught inside the gate")
    began = clock.monotonic()
    id = stage.launch("echo", "hi", parentSessionId="q", concurrencyKey="q")
    assert clock.monotonic() - began < GATE_PATIENCE == 5
    assert stage.until(id).result == "hi"
    assert stage.batches("q", 1)[0]["allComplete"] is True


#: Starts a program as a shell on the terminal of its standard input does: in a separate process group of its session.
SHELL = """
import fcntl, os, subprocess, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
process = subprocess.Popen(sys.argv[1:], process_group=0)
print(process.pid, flush=True)
sys.exit(process.wait())
"""


@pytest.fixture
def terminal() -> Iterator[int]:
    """A terminal that controls no process yet."""
    near, far = os.openpty()
    yield far
    os.close(near)
    os.close(far)


def test_ctrl_z_in_the_middle_of_a_launch_stops_it_only_once_it_lets_the_others_in(stage: Stage, tmp_path, terminal):
    tasks = tmp_path / "tasks.ndjson"
    tasks.write_text((json.dumps({"command": ["true"], "concurrencyKey": "held"}) + "\n") * 4000)
    stage.launch("true")
    launch = program("--home", str(stage.folder), "launch", "--from-file", str(tasks))
    gate = stage.home.lock("gate")
    command = [sys.executable, "-c", SHELL, *launch]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        eventually(lambda: holder(gate) == pid, PATIENCE, "the launch to be inside the gate")
        os.kill(pid, signal.SIGTSTP)
        eventually(lambda: is_stopped(pid), PATIENCE, "the launch to be stopped")
        assert holder(gate) is None
        stage.launch("true")
        os.kill(pid, signal.SIGCONT)
        assert len(shell.stdout.read().split()) == 4000
    assert shell.returncode == 0


def stopped_flusher(stage: Stage) -> int:
    pid = stage.pid_of("flusher")
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), PATIENCE)
    return pid


def test_a_flusher_that_is_stopped_is_continued_and_tells_what_it_has_not_told(stage: Stage):
    stage.up(**BRISK)
    pid = stopped_flusher(stage)
    id = stage.result("true", parentSessionId="p").id
    assert [batch["tasks"][0]["id"] for batch in stage.batches("p", 1)] == [id]
    assert (stage.pid_of("flusher"), is_stopped(pid)) == (pid, False)


def test_a_flusher_that_is_stopped_keeps_neither_down_nor_up_nor_clear_from_returning(stage: Stage):
    stage.up(**BRISK)
    stopped_flusher(stage)
    stage.down()
    stage.up(**BRISK)
    stage.result("true", parentSessionId="p")
    stopped_flusher(stage)
    stage.say("clear", "--yes")
    pid = stopped_flusher(stage)
    stage.kill("supervisor")
    stage.up(**BRISK)
    assert stage.pid_of("flusher") == pid
    assert stage.result("true").status == "completed"
