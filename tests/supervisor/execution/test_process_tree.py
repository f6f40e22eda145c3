"""Who is in a tree."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.places import IMPORT_ROOT

#: A child forks and dies just after the list of the living was begun: the list is empty, and somebody lives.
MISSED = """
import os, signal, sys
from backburner.supervisor.execution.process_tree import descendants_of, end, who_is_left
from backburner.supervisor.role import become_subreaper

become_subreaper()
go, gone = os.pipe()
lives, born = os.pipe()
if os.fork() == 0:
    os.read(go, 1)
    if os.fork() == 0:
        os.write(born, b".")
        signal.pause()
    os._exit(0)

def members():
    if gone in closed:
        return descendants_of(os.getpid())
    closed.append(gone)
    os.write(gone, b".")
    os.read(lives, 1)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return set()

closed = []
print(len(who_is_left(members)), end(members, 1.0), len(who_is_left(members)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans come to a worker on Linux alone")
def test_one_that_forks_and_dies_while_the_tree_is_listed_does_not_make_it_empty():
    command = [sys.executable, "-c", MISSED]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=IMPORT_ROOT, env={"PYTHONPATH": "."}
    )
    assert (done.stdout, done.stderr) == ("1 1 0\n", "")
