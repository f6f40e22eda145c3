"""A fork server that does not do as it is told keeps nobody waiting for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc.home import Home
from backburner.supervisor.pool import fork_server_client as fork_server_module
from backburner.supervisor.pool.fork_server_client import ForkServerClient
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
    words = [sys.executable, "-c", HOLD, str(Home(home).prepare().lock("forkserver"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def fork_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServerClient]:
    monkeypatch.setattr(fork_server_module, "RETIRE_PATIENCE", 0.05)
    monkeypatch.setattr(fork_server_module, "REAP_PATIENCE", 0.05)
    with DefaultSelector() as selector:
        yield ForkServerClient(Home(home), selector, ["false"], lambda _message: None)


def test_a_fork_server_that_makes_no_room_is_named(fork_server: ForkServerClient, stubborn, capsys):
    fork_server.retire()
    assert f"the fork server {stubborn.pid} did not make room" in capsys.readouterr().err


def test_a_fork_server_that_does_not_end_is_left_to_init(fork_server: ForkServerClient, stubborn):
    fork_server._started = stubborn
    fork_server.reap()
    assert stubborn.poll() is None
