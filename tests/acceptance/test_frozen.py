"""Processes that are stopped (SIGSTOP) while they hold the write gate, or while others wait for them."""

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
from backburner.ipc.store.sqlite.file.write_gate import TIMEOUT as GATE_TIMEOUT
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.wait import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc shows which process is stopped")


@contextmanager
def locked(instance: Instance) -> Iterator[None]:
    """Take SQLite's own lock, so that a writer waits for it while it holds the write gate."""
    with closing(sqlite3.connect(instance.home.database, timeout=TIMEOUT, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        yield


def start_task(instance: Instance) -> int:
    """Start a task, and return the pid that makes its worker write when it is killed."""
    return instance.pid(instance.launch_sleeper(concurrencyKey="dies"))


def end_task(instance: Instance) -> int:
    """Have a batch to form, which the flusher writes by itself."""
    instance.result("true", parentSessionId="p")
    return 0


def no_preparation(_instance: Instance) -> int:
    return 0


#: For each role: the preparation, and the action that makes it write.
WRITES: dict[str, tuple[Callable[[Instance], int], Callable[[Instance, int], None]]] = {
    "supervisor": (no_preparation, lambda instance, _: os.kill(instance.pid_of("supervisor"), signal.SIGHUP)),
    "worker": (start_task, lambda _, task: os.kill(task, signal.SIGKILL)),
    "flusher": (end_task, lambda _instance, _: None),
}


def stopped_inside(instance: Instance, role: str) -> bool:
    """Stop a role while it waits inside the gate. Return False if it had written before."""
    prepare, make_it_write = WRITES[role]
    task = prepare(instance)
    pid = instance.status()["workers"][0]["pid"] if role == "worker" else instance.pid_of(role)
    with locked(instance):
        make_it_write(instance, task)
        try:
            eventually(lambda: holder(instance.home.lock("gate")) == pid, 1)
        except AssertionError:
            return False
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: is_stopped(pid), TIMEOUT)
        return holder(instance.home.lock("gate")) == pid


@pytest.mark.parametrize("role", WRITES)
def test_role_that_is_stopped_in_the_write_gate_blocks_others_under_five_seconds(instance: Instance, role: str):
    instance.up(**{**BRISK, "notification_batch_window_ms": 300}, worker_idle_s=60)
    eventually(lambda: stopped_inside(instance, role), TIMEOUT, f"the {role} to be caught inside the gate")
    began = clock.monotonic()
    id = instance.launch("echo", "hi", parentSessionId="q", concurrencyKey="q")
    assert clock.monotonic() - began < GATE_TIMEOUT == 5
    assert instance.until(id).result == "hi"
    assert instance.batches("q", 1)[0]["allComplete"] is True


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
    """Open a terminal that controls no process yet."""
    near, far = os.openpty()
    yield far
    os.close(near)
    os.close(far)


def test_ctrl_z_stops_a_launch_only_after_it_has_left_the_write_gate(instance: Instance, tmp_path, terminal):
    tasks = tmp_path / "tasks.ndjson"
    tasks.write_text((json.dumps({"command": ["true"], "concurrencyKey": "held"}) + "\n") * 4000)
    instance.launch("true")
    launch = program("--home", str(instance.folder), "launch", "--from-file", str(tasks))
    gate = instance.home.lock("gate")
    command = [sys.executable, "-c", SHELL, *launch]
    with subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        eventually(lambda: holder(gate) == pid, TIMEOUT, "the launch to be inside the gate")
        os.kill(pid, signal.SIGTSTP)
        eventually(lambda: is_stopped(pid), TIMEOUT, "the launch to be stopped")
        assert holder(gate) is None
        instance.launch("true")
        os.kill(pid, signal.SIGCONT)
        assert len(shell.stdout.read().split()) == 4000
    assert shell.returncode == 0


def stopped_flusher(instance: Instance) -> int:
    pid = instance.pid_of("flusher")
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), TIMEOUT)
    return pid


def test_stopped_flusher_is_continued_and_delivers_pending_batches(instance: Instance):
    instance.up(**BRISK)
    pid = stopped_flusher(instance)
    id = instance.result("true", parentSessionId="p").id
    assert [batch["tasks"][0]["id"] for batch in instance.batches("p", 1)] == [id]
    assert (instance.pid_of("flusher"), is_stopped(pid)) == (pid, False)


def test_stopped_flusher_does_not_block_down_up_or_clear(instance: Instance):
    instance.up(**BRISK)
    stopped_flusher(instance)
    instance.down()
    instance.up(**BRISK)
    instance.result("true", parentSessionId="p")
    stopped_flusher(instance)
    instance.check("clear", "--yes")
    pid = stopped_flusher(instance)
    instance.kill("supervisor")
    instance.up(**BRISK)
    assert instance.pid_of("flusher") == pid
    assert instance.result("true").status == "completed"
