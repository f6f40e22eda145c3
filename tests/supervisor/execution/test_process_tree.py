"""The processes of a tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.supervisor.execution.process_tree import descendants_of
from tests.helpers.places import IMPORT_ROOT

#: A child forks and dies just after the listing of the tree has begun: the list is empty, but its child is alive.
MISSED = """
import os, signal, sys
from backburner.supervisor.execution.process_tree import descendants_of, end, remaining
from backburner.supervisor.role import become_subreaper

become_subreaper()
go, finish = os.pipe()
lives, born = os.pipe()
if os.fork() == 0:
    os.read(go, 1)
    if os.fork() == 0:
        os.write(born, b".")
        signal.pause()
    os._exit(0)

def members():
    if listed:
        return descendants_of(os.getpid())
    listed.append(True)
    os.write(finish, b".")
    os.read(lives, 1)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return set()

listed = []
print(len(remaining(members)), end(members, 1.0), len(remaining(members)))
"""


#: Takes the lock of a supervisor and starts a child.
SUPERVISOR = """
import pathlib, subprocess, sys
from backburner.ipc.machine.lock import Lock

assert Lock(pathlib.Path(sys.argv[1]) / "supervisor.lock").acquire()
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to a worker on Linux alone")
def test_tree_is_not_empty_if_a_process_forks_and_dies_during_the_listing():
    command = [sys.executable, "-c", MISSED]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=IMPORT_ROOT, env={"PYTHONPATH": "."}
    )
    assert (done.stdout, done.stderr) == ("1 1 0\n", "")


@pytest.mark.parametrize(
    ("marks", "outside"), [({}, True), ({"BACKBURNER_CLAIM": "7"}, False), ({"BACKBURNER_HOME": "/nowhere"}, False)]
)
def test_supervisor_with_its_descendants_is_outside_the_tree_of_a_task(
    tmp_path: Path, marks: dict[str, str], outside: bool
):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(IMPORT_ROOT),
        "BACKBURNER_HOME": str(tmp_path),
        **marks,
    }
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        found = descendants_of(os.getpid())
        os.kill(child, signal.SIGKILL)
    assert (process.pid not in found, child not in found) == (outside, outside)
