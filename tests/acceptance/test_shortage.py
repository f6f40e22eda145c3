"""A passing shortage of processes or descriptors delays tasks. It ends none of them, and no process of backburner."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.machine import shortage
from backburner.ipc.machine.shortage import is_shortage, patiently
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.places import ROOT
from tests.helpers.wait import eventually

COMPILER = shutil.which("cc")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that lets a fork fail in the processes that load it."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip("no compiler for the library that lets a fork fail")
    path = tmp_path_factory.mktemp("shortage") / "shortage.so"
    source = ROOT / "tests" / "helpers" / "shortage.c"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", str(path), str(source), "-ldl"], check=True)
    return path


@pytest.fixture
def shortages(library: Path, instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start a supervisor. No process can be forked in its processes while the returned file exists."""
    file = tmp_path / "shortage"
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SHORTAGE", str(file))
    instance.up(**BRISK)
    monkeypatch.delenv("LD_PRELOAD")
    yield file
    file.unlink(missing_ok=True)


def troubles(instance: Instance) -> list[str]:
    """Return the reports of the shortage in the log."""
    return [line for line in instance.home.log.read_text().splitlines() if "can be started now" in line]


def roles(instance: Instance) -> list[int]:
    return [instance.pid_of(role) for role in ("supervisor", "flusher", "forkServer")]


@pytest.mark.parametrize("kind", ["new worker", "idle worker", "call", "agent"])
def test_tasks_wait_while_no_process_can_be_started(instance: Instance, shortages: Path, kind: str):
    fields = {"call": "os:getpid"} if kind == "call" else {"command": ["true"]}
    if kind == "agent":
        fields = {"command": ["true"], "timeoutMs": 60_000}  # not a plain command, so the worker starts it alone
    if kind != "new worker":
        instance.until(instance.launch("true"))
    before = roles(instance)
    shortages.touch()
    ids = [instance.launch(**fields) for _ in range(3)]
    eventually(lambda: troubles(instance), TIMEOUT, "the shortage to be reported")
    assert all(instance.task(id).status in ("pending", "running") for id in ids)
    shortages.unlink()
    assert [instance.until(id).status for id in ids] == ["completed"] * 3
    assert roles(instance) == before
    assert len(troubles(instance)) <= 2  # one of the supervisor, one of the worker
    assert "Traceback" not in instance.home.log.read_text()


def test_fork_server_that_dies_in_a_shortage_is_replaced_afterwards(instance: Instance, shortages: Path):
    supervisor = instance.pid_of("supervisor")
    shortages.touch()
    instance.kill("forkServer")
    id = instance.launch("true")
    eventually(lambda: troubles(instance), TIMEOUT, "the shortage to be reported")
    shortages.unlink()
    assert instance.until(id).status == "completed"
    assert instance.pid_of("supervisor") == supervisor


def test_supervisor_that_cannot_be_started_now_is_a_temporary_error(
    library: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "shortage").touch()
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SHORTAGE", str(tmp_path / "shortage"))
    code = f"import sys; sys.argv = ['backburner', '--home', {str(home)!r}, 'up', '--detach']; import runpy; " + (
        "runpy.run_module('backburner', run_name='__main__')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, close_fds=True)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (111, False), err


def test_call_that_meets_a_shortage_is_repeated_for_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shortage, "PAUSE", 0.001)
    results = iter([OSError(24, "too many"), OSError(11, "no process"), 7])

    def call() -> int:
        result = next(results)
        if isinstance(result, OSError):
            raise result
        return result

    assert patiently(call) == 7
    assert is_shortage(MemoryError())
    assert not is_shortage(OSError(2, "no such file"))
