"""Processes that are stopped while they keep everybody else out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ipc import clock
from ipc.control import program
from ipc.gate import PATIENCE as GATE_PATIENCE
from ipc.lock import holder
from ipc.thaw import is_stopped
from tests.acceptance.conftest import BRISK
from tests.helpers.moment import eventually
from tests.helpers.stage import PATIENCE, Stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is stopped")

#: Launches tasks that keep each role writing, until it is told to stop.
BUSY = """
import sys
from ipc.config import BackgroundConfig
from ipc.database import Database
from ipc.errors import Temporary
from ipc.home import Home
from ipc.queue import Queue
from ipc.task import LaunchInput
from pathlib import Path
queue = Queue(Database(Home(Path(sys.argv[1])), "normal"), BackgroundConfig())
while True:
    first = queue.launch(LaunchInput(command=("true",), parent_session_id="p"))
    queue.launch(LaunchInput(command=("true",), parent_session_id="p", after=(first.id,)))
    print(first.id, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def busy(stage: Stage) -> Iterator[Callable[[], None]]:
    """Another process that launches a little more whenever it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", BUSY, str(stage.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def more() -> None:
            process.stdin.write("\n")
            process.stdin.flush()

        yield more
        process.kill()


def stopped_inside(stage: Stage, pid: int, more: Callable[[], None]) -> bool:
    """Stop a process, and let it go on unless it is inside the gate."""
    more()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: is_stopped(pid), PATIENCE)
    if holder(stage.home.lock("gate")) == pid:
        return True
    os.kill(pid, signal.SIGCONT)
    return False


@pytest.mark.parametrize("role", ["supervisor", "worker", "flusher"])
def test_a_role_that_is_stopped_inside_the_gate_keeps_nobody_out_for_five_seconds(stage: Stage, role: str):
    stage.up(**BRISK, default_concurrency=1, durability="full", worker_idle_s=60)
    stage.result("true")
    with busy(stage) as more:
        pid = stage.status()["workers"][0]["pid"] if role == "worker" else stage.pid_of(role)
        eventually(lambda: stopped_inside(stage, pid, more), PATIENCE, f"the {role} to be caught inside the gate")
        began = clock.monotonic()
        id = stage.launch("echo", "hi", parentSessionId="q", concurrencyKey="q")
        assert clock.monotonic() - began < GATE_PATIENCE == 5
    assert stage.until(id).result == "hi"
    assert stage.batches("q", 1)[0]["allComplete"] is True


#: Starts a program as a shell does: a process group of its own in a session that has others.
SHELL = """
import os, subprocess, sys
os.setsid()
process = subprocess.Popen(sys.argv[1:], process_group=0)
print(process.pid, flush=True)
sys.exit(process.wait())
"""


def test_ctrl_z_in_the_middle_of_a_launch_stops_it_only_once_it_lets_the_others_in(stage: Stage, tmp_path):
    tasks = tmp_path / "tasks.ndjson"
    tasks.write_text((json.dumps({"command": ["true"], "concurrencyKey": "held"}) + "\n") * 4000)
    stage.launch("true")
    launch = program("--home", str(stage.folder), "launch", "--from-file", str(tasks))
    gate = stage.home.lock("gate")
    with subprocess.Popen([sys.executable, "-c", SHELL, *launch], stdout=subprocess.PIPE, text=True) as shell:
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
