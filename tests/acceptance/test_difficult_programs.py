"""Programs that are difficult to end leave no process behind, however they end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backburner.supervisor.execution.process_tree import marked_processes
from tests.helpers.difficult_programs import PROCESS_COUNTS, difficult_program
from tests.helpers.instance import Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.processes import are_gone, is_alive, kill
from tests.helpers.wait import eventually

PROGRAMS = sorted(PROCESS_COUNTS)

#: The processes that are left when the first one exits by itself. A breeder is between two generations.
LEFT = {name: PROCESS_COUNTS[name] - 1 for name in PROCESS_COUNTS} | {"pipeline": 0, "breeder": 1}


def started(instance: Instance, name: str, file: Path, **fields: object) -> tuple[str, list[int]]:
    """Launch a program, wait until all its processes run, and return the task's id and their pids."""
    id = instance.launch(*difficult_program(name, file), **fields)
    return id, wait_for_numbers(file, PROCESS_COUNTS[name])


def no_process_is_left(instance: Instance, file: Path) -> bool:
    """Return True if no process of a program is alive, neither a recorded one nor another one."""
    return are_gone([int(line) for line in file.read_text().splitlines()]) and not marked_processes(instance.folder)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "orphans"])
def test_exit_of_leader_decides_and_descendants_are_killed(shared: Instance, tmp_path: Path, name):
    task = shared.result(*difficult_program(name, tmp_path / "pids", "leaves"))
    assert (task.status, task.result, task.exit_code, task.signal) == ("completed", "well", 0, None), task.error
    parent = name == "breeder"  # the parent of the last generation may still be alive
    assert LEFT[name] <= task.leftovers <= LEFT[name] + parent
    assert no_process_is_left(shared, tmp_path / "pids")


def test_signal_that_kills_the_leader_before_its_children_is_the_outcome(shared: Instance, tmp_path: Path):
    task = shared.result(*difficult_program("orphans", tmp_path / "pids", "leaves"))
    assert (task.status, task.error_kind, task.signal, task.leftovers) == ("error", "signal", signal.SIGABRT, 2)
    assert no_process_is_left(shared, tmp_path / "pids")


@pytest.mark.parametrize("name", PROGRAMS)
def test_cancel_ends_every_process_of_a_difficult_program(shared: Instance, tmp_path: Path, name):
    id, _ = started(shared, name, tmp_path / "pids")
    shared.check("cancel", id)
    assert no_process_is_left(shared, tmp_path / "pids")
    assert shared.task(id).status == "cancelled"


@pytest.mark.parametrize("name", PROGRAMS)
def test_timeout_ends_every_process_of_a_difficult_program(shared: Instance, tmp_path: Path, name):
    (tmp_path / "pids").touch()
    task = shared.result(*difficult_program(name, tmp_path / "pids"), timeoutMs=500)
    assert no_process_is_left(shared, tmp_path / "pids")
    assert (task.status, task.error_kind) == ("error", "timeout")


@pytest.mark.parametrize("name", PROGRAMS)
def test_death_of_the_worker_ends_every_process_of_a_difficult_program(shared: Instance, tmp_path: Path, name):
    id, _ = started(shared, name, tmp_path / "pids")
    kill(shared.worker_of(id))
    task = shared.until(id)
    assert no_process_is_left(shared, tmp_path / "pids")
    assert (task.status, task.error_kind) == ("error", "lost")


# killed by the kernel

BURN = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"
EAT = "import sys; open(sys.argv[1], 'w').write('0'); x = bytearray(256 * 1024 * 1024)"

#: The roots of cgroup v2 and v1, and the file that limits the memory of a group.
CGROUPS = {"/sys/fs/cgroup": "memory.max", "/sys/fs/cgroup/memory": "memory.limit_in_bytes"}


@pytest.fixture
def small_cgroup(tmp_path: Path) -> Iterator[Path]:
    """Create a cgroup that may use 32 MiB, and yield the file to which its members are written."""
    for parent, limit in CGROUPS.items():
        group = Path(parent) / f"backburner-test-{os.getpid()}"
        if not (Path(parent) / "cgroup.procs").exists():
            continue
        with suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(32 * 1024 * 1024))
                yield group / "cgroup.procs"
                eventually(lambda group=group: not (group / "cgroup.procs").read_text())
                group.rmdir()
                return
            group.rmdir()
    pytest.skip("no cgroup with a limit of memory can be created here")


def test_task_that_the_kernel_kills_for_its_memory_failed_with_sigkill(shared: Instance, small_cgroup: Path):
    task = shared.result(sys.executable, "-S", "-c", EAT, str(small_cgroup))
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)
    assert task.error == "It was ended by SIGKILL."


def test_task_that_the_kernel_kills_for_its_cpu_time_failed_with_sigkill(shared: Instance):
    task = shared.result(sys.executable, "-S", "-c", BURN, timeoutMs=60_000)
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)


# daemons that may outlive their tasks


@pytest.fixture
def pids(shared: Instance, tmp_path: Path) -> Iterator[Path]:
    """Yield the file for the pids of a program that may outlive its task; kill these processes afterwards."""
    yield tmp_path / "pids"
    for pid in wait_for_numbers(tmp_path / "pids", 1):
        if is_alive(pid):
            kill(pid)


def test_daemon_outlives_a_task_with_leave_children(shared: Instance, pids: Path):
    task = shared.result(*difficult_program("daemon", pids, "leaves"), leaveChildren=True)
    assert (task.status, task.result) == ("completed", "well")
    assert shared.result("true").leftovers == 0
    daemon, leader = wait_for_numbers(pids, 2)
    assert is_alive(daemon)
    assert not is_alive(leader)


def test_cancel_ends_the_daemon_of_a_task_with_leave_children(shared: Instance, pids: Path):
    id, processes = started(shared, "daemon", pids, leaveChildren=True)
    shared.check("cancel", id)
    assert are_gone(processes)


def test_daemon_of_a_task_with_leave_children_outlives_the_worker(shared: Instance, pids: Path):
    id, processes = started(shared, "daemon", pids, leaveChildren=True)
    leader = shared.pid(id)
    (daemon,) = set(processes) - {leader}
    kill(shared.worker_of(id))
    assert shared.until(id).error_kind == "lost"
    assert not is_alive(leader)
    assert is_alive(daemon)


# the documented exception


def test_orphan_without_environment_is_missed_only_if_its_ancestors_died(live: Instance, tmp_path: Path):
    id, processes = started(live, "disguised", tmp_path / "pids")
    leader = live.pid(id)
    (stray,) = set(processes) - {leader}
    worker = live.worker_of(id)
    live.kill("forkServer")
    kill(worker)
    assert live.until(id).error_kind == "lost"
    assert not is_alive(leader)
    assert is_alive(stray)
    kill(stray)
