"""A nursery that does not do as it is told keeps nobody waiting for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc.home import Home
from backburner.supervisor.pool import fork_server_client as nurse_module
from backburner.supervisor.pool.fork_server_client import Nurse
from tests.helpers.places import ROOT

#: In office until its standard input ends.
HOLD = """
import sys
from pathlib import Path
from backburner.ipc.machine.lock import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stubborn(home: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HOLD, str(Home(home).prepare().lock("nursery"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def nurse(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nurse]:
    monkeypatch.setattr(nurse_module, "RETIRE_PATIENCE", 0.05)
    monkeypatch.setattr(nurse_module, "REAP_PATIENCE", 0.05)
    with DefaultSelector() as selector:
        yield Nurse(Home(home), selector, ["false"], lambda _message: None)


def test_a_nursery_that_makes_no_room_is_named(nurse: Nurse, stubborn, capsys):
    nurse.retire()
    assert f"the nursery {stubborn.pid} did not make room" in capsys.readouterr().err


def test_a_nursery_that_does_not_end_is_left_to_init(nurse: Nurse, stubborn):
    nurse._started = stubborn
    nurse.reap()
    assert stubborn.poll() is None
