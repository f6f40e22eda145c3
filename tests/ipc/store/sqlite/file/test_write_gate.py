"""The write gate admits one writer at a time, waits for a limited time and continues a stopped holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import GateBusy
from backburner.ipc.machine.watchdog import CONTINUE_AFTER, KILL_AFTER
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
from tests.helpers.places import ROOT

#: Takes the gate and stops itself; with `stubborn` it stops again whenever it is continued.
HOLDER = """
import os, signal, sys
sys.path.append(sys.argv[1])
from pathlib import Path
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
with WriteGate.of(Path(sys.argv[2])):
    stop = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGCONT, stop)
    print("in", flush=True)
    stop()
    while "stubborn" in sys.argv or "forever" in sys.argv:
        signal.pause()
"""


@contextmanager
def holder(path: Path, *how: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(ROOT), str(path), *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate.lock"


def test_killed_holder_releases_the_gate_at_once(path: Path):
    with holder(path) as process:
        process.kill()
        started = clock.monotonic()
        with WriteGate.of(path):
            assert clock.monotonic() - started < CONTINUE_AFTER


def test_stopped_holder_is_continued(path: Path):
    with holder(path) as process, WriteGate.of(path):
        assert process.wait(10) == 0


def test_holder_of_this_program_that_stops_again_is_killed(path: Path):
    started = clock.monotonic()
    with holder(path, "stubborn", "backburner") as process, WriteGate.of(path):
        assert process.wait(10) == -signal.SIGKILL
        assert clock.monotonic() - started < CONTINUE_AFTER + KILL_AFTER + 2


def test_other_program_that_stops_again_is_reported_and_not_killed(path: Path):
    gate = WriteGate(path)
    gate.timeout = CONTINUE_AFTER + KILL_AFTER + 0.5
    with holder(path, "stubborn") as process:
        with pytest.raises(GateBusy, match=str(process.pid)), gate:
            pass
        assert process.poll() is None


def test_gate_of_a_recreated_home_keeps_other_writers_out(path: Path):
    with WriteGate.of(path):
        pass
    path.unlink()
    with WriteGate.of(path):
        other = WriteGate(path)
        assert path.exists()
    del other


def test_forked_child_does_not_hold_the_gate_of_its_parent(path: Path):
    with WriteGate.of(path):
        child = os.fork()
        if child == 0:
            gate = WriteGate.of(path)
            gate.timeout = 0.1
            try:
                with gate:
                    os._exit(1)
            except GateBusy:
                os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


#: Prints whether a stop by the terminal is blocked while the gate is held, and afterwards. With `terminal` the process
#: acquires the terminal on its standard input. With `child` a forked child does so, after its parent has used the gate
#: without one.
MASKED = """
import fcntl, os, signal, sys, termios
sys.path.append(sys.argv[1])
from pathlib import Path
from backburner.ipc.store.sqlite.file.write_gate import WriteGate
gate = WriteGate.of(Path(sys.argv[2]))
masked = lambda: signal.SIGTSTP in signal.pthread_sigmask(signal.SIG_BLOCK, ())
if "child" in sys.argv:
    with gate:
        pass
    if os.fork():
        os.wait()
        sys.exit()
    os.setsid()
if "none" not in sys.argv:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
with gate:
    inside = masked()
print(inside, masked(), flush=True)
"""


@pytest.fixture
def terminal() -> Iterator[int]:
    """Open a terminal that controls no process yet."""
    near, far = os.openpty()
    yield far
    os.close(near)
    os.close(far)


def masked(path: Path, terminal: int, how: str) -> str:
    command = [sys.executable, "-c", MASKED, str(ROOT), str(path), how]
    return subprocess.run(
        command, stdin=terminal, stdout=subprocess.PIPE, text=True, start_new_session=True, timeout=30, check=True
    ).stdout


@pytest.mark.parametrize("how", ["terminal", "child"])
def test_stop_by_the_terminal_waits_until_the_gate_is_released(path: Path, terminal: int, how: str):
    assert masked(path, terminal, how) == "True False\n"


def test_process_without_a_terminal_keeps_its_signal_mask(path: Path, terminal: int):
    assert masked(path, terminal, "none") == "False False\n"


def test_refused_thread_leaves_the_gate_usable(path: Path):
    gate = WriteGate(path)
    gate.timeout = 0.05
    with holder(path), pytest.raises(GateBusy), gate:
        pass
    with gate:
        assert path.exists()
