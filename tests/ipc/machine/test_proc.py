"""Facts about processes, by /proc and by psutil."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.machine import proc
from tests.helpers.wait import eventually

#: Process ID of a process that is never there: the largest one that Linux and macOS give out is smaller.
MISSING = 2**22 + 1


@pytest.fixture(autouse=True, params=["proc", "psutil"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with both implementations; the one for other systems works on Linux, too."""
    if request.param == "psutil":
        monkeypatch.setattr(proc, "LINUX", False)
    elif sys.platform != "linux":
        pytest.skip("there is no /proc")
    return str(request.param)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that has a file open."""
    with (
        (tmp_path / "file").open("w") as file,
        subprocess.Popen(["sleep", "99"], env={"MARK": "a=b", **os.environ}, stdout=file) as process,
    ):
        yield process
        process.kill()


def end_unreaped(process: subprocess.Popen[bytes]) -> None:
    """Leave a zombie."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_facts_of_a_living_process(child: subprocess.Popen[bytes]):
    assert child.pid in proc.all_pids()
    assert proc.parent(child.pid) == os.getpid()
    assert eventually(lambda: proc.name(child.pid) == "sleep")
    assert proc.command_line(child.pid) == ["sleep", "99"]
    assert proc.environment(child.pid)["MARK"] == "a=b"
    assert proc.start_ticks(child.pid) == proc.start_ticks(child.pid) is not None
    assert not proc.has_ended(child.pid)
    assert child.pid in proc.children(os.getpid()) & proc.own_children()
    assert str(child.pid).encode() in proc.watch_own_children()().split()
    assert proc.children(child.pid) == set()


def test_zombie_has_ended_and_is_still_a_child(child: subprocess.Popen[bytes]):
    end_unreaped(child)
    assert proc.has_ended(child.pid)
    assert proc.start_ticks(child.pid) is None
    assert child.pid in proc.own_children()


def test_missing_process_has_no_facts():
    assert proc.has_ended(MISSING)
    assert not proc.is_stopped(MISSING)
    facts = (proc.start_ticks, proc.parent, proc.name, proc.command_line, proc.environment, proc.children)
    assert [fact(MISSING) for fact in facts] == [None, None, None, [], {}, set()]
    assert proc.cpu_ticks(MISSING) == 0


def test_stopped_process_is_stopped_until_it_continues(child: subprocess.Popen[bytes]):
    assert not proc.is_stopped(child.pid)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert proc.is_stopped(child.pid)
    assert not proc.has_ended(child.pid)
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    assert not proc.is_stopped(child.pid)


def test_cpu_time_grows_while_a_process_computes():
    before = proc.cpu_ticks(os.getpid())
    assert eventually(lambda: sum(range(100_000)) and proc.cpu_ticks(os.getpid()) > before)


def test_processes_that_have_a_file_open(child: subprocess.Popen[bytes], tmp_path: Path):
    path = tmp_path / "file"
    found = proc.file_id(path)
    assert found == (path.stat().st_dev, path.stat().st_ino)
    assert child.pid in set(proc.pids_with_open({found}))
    end_unreaped(child)
    assert child.pid not in set(proc.pids_with_open({found}))
    assert proc.file_id(tmp_path / "missing") is None


@pytest.mark.skipif(sys.platform != "linux", reason="a name with spaces and parentheses is set in /proc")
def test_name_with_spaces_and_parentheses_does_not_shift_the_fields(source: str):
    code = "import sys; open('/proc/self/comm', 'w').write(') S 1 ('); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert proc.name(process.pid) == ") S 1 ("
        assert proc.parent(process.pid) == os.getpid()
        process.kill()
