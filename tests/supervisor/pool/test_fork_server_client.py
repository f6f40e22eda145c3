from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from selectors import DefaultSelector

import pytest

from backburner.ipc.home import Home
from backburner.supervisor.pool import fork_server_client
from backburner.supervisor.pool.fork_server_client import ForkServerClient
from tests.helpers.places import ROOT

#: Holds a lock until its standard input ends.
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
def unresponsive(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the role of the fork server and does not react to anything."""
    words = [sys.executable, "-c", HOLD, str(Home(home).prepare().lock("forkserver"))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.fixture
def fork_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServerClient]:
    monkeypatch.setattr(fork_server_client, "RETIRE_TIMEOUT", 0.05)
    monkeypatch.setattr(fork_server_client, "REAP_TIMEOUT", 0.05)
    with DefaultSelector() as selector:
        yield ForkServerClient(Home(home), selector, ["false"], lambda _message: None)


def test_fork_server_that_does_not_retire_is_logged(fork_server: ForkServerClient, unresponsive, capsys):
    fork_server.retire()
    assert f"fork server {unresponsive.pid} made no room" in capsys.readouterr().err


def test_fork_server_that_does_not_exit_is_left_to_init(fork_server: ForkServerClient, unresponsive):
    fork_server._started = unresponsive
    fork_server.reap()
    assert unresponsive.poll() is None
