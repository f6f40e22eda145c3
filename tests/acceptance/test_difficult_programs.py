"""Programs that are hard to end, each in every way in which it may come to its end: of none anything is left."""

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

#: What is left of one that ended by itself: so many processes. A breeder is between two generations.
LEFT = {name: PROCESS_COUNTS[name] - 1 for name in PROCESS_COUNTS} | {"pipeline": 0, "breeder": 1}


def caught(instance: Instance, name: str, file: Path, **fields: object) -> tuple[str, list[int]]:
    """A running animal, and its processes."""
    id = instance.launch(*difficult_program(name, file), **fields)
    return id, wait_for_numbers(file, PROCESS_COUNTS[name])


def nobody_is_left(instance: Instance, file: Path) -> bool:
    """Whether an animal is gone, the processes that it wrote down and the others."""
    return are_gone([int(line) for line in file.read_text().splitlines()]) and not marked_processes(instance.folder)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "orphans"])
def test_what_ends_by_itself_is_judged_by_its_leader_and_nothing_of_it_is_left(shared: Instance, tmp_path: Path, name):
    task = shared.result(*difficult_program(name, tmp_path / "pids", "leaves"))
    assert (task.status, task.result, task.exit_code, task.signal) == ("completed", "well", 0, None), task.error
    parent = name == "breeder"  # one that has just forked may not be gone yet
    assert LEFT[name] <= task.leftovers <= LEFT[name] + parent
    assert nobody_is_left(shared, tmp_path / "pids")


def test_a_leader_that_dies_before_its_children_has_died_of_what_killed_it(shared: Instance, tmp_path: Path):
    task = shared.result(*difficult_program("orphans", tmp_path / "pids", "leaves"))
    assert (task.status, task.error_kind, task.signal, task.leftovers) == ("error", "signal", signal.SIGABRT, 2)
    assert nobody_is_left(shared, tmp_path / "pids")


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_cancelled_is_cancelled_however_it_takes_it(shared: Instance, tmp_path: Path, name):
    id, _ = caught(shared, name, tmp_path / "pids")
    shared.check("cancel", id)
    assert nobody_is_left(shared, tmp_path / "pids")
    assert shared.task(id).status == "cancelled"


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_runs_too_long_has_timed_out_however_it_takes_it(shared: Instance, tmp_path: Path, name):
    (tmp_path / "pids").touch()
    task = shared.result(*difficult_program(name, tmp_path / "pids"), timeoutMs=500)
    assert nobody_is_left(shared, tmp_path / "pids")
    assert (task.status, task.error_kind) == ("error", "timeout")


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_loses_its_worker_is_lost_and_nothing_of_it_is_left(shared: Instance, tmp_path: Path, name):
    id, _ = caught(shared, name, tmp_path / "pids")
    kill(shared.worker_of(id))
    task = shared.until(id)
    assert nobody_is_left(shared, tmp_path / "pids")
    assert (task.status, task.error_kind) == ("error", "lost")


# killed by the kernel

BURN = "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass"
EAT = "import sys; open(sys.argv[1], 'w').write('0'); x = bytearray(256 * 1024 * 1024)"

#: Where the kernel's second and first kind of groups are made, and the file that limits the memory of one.
GROUPS = {"/sys/fs/cgroup": "memory.max", "/sys/fs/cgroup/memory": "memory.limit_in_bytes"}


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A group of processes that may use 32 MiB together; who joins is written into the file."""
    for parent, limit in GROUPS.items():
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
    pytest.skip("no group of processes with a limit may be made here")


def test_what_the_kernel_kills_for_its_memory_died_of_a_signal_and_not_of_ours(shared: Instance, small_group: Path):
    task = shared.result(sys.executable, "-S", "-c", EAT, str(small_group))
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)
    assert task.error == "It was ended by SIGKILL."


def test_what_the_kernel_kills_for_its_time_died_of_a_signal_and_not_of_ours(shared: Instance):
    task = shared.result(sys.executable, "-S", "-c", BURN, timeoutMs=60_000)
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)


# daemons that are meant


@pytest.fixture
def meant(shared: Instance, tmp_path: Path) -> Iterator[Path]:
    """Where an animal writes its herd that is to live on; it is ended here."""
    yield tmp_path / "pids"
    for pid in wait_for_numbers(tmp_path / "pids", 1):
        if is_alive(pid):
            kill(pid)


def test_a_daemon_that_is_meant_outlives_its_task_and_the_next_one(shared: Instance, meant: Path):
    task = shared.result(*difficult_program("daemon", meant, "leaves"), leaveChildren=True)
    assert (task.status, task.result) == ("completed", "well")
    assert shared.result("true").leftovers == 0
    daemon, leader = wait_for_numbers(meant, 2)
    assert is_alive(daemon)
    assert not is_alive(leader)


def test_a_daemon_that_is_meant_goes_with_a_task_that_is_cancelled(shared: Instance, meant: Path):
    id, herd = caught(shared, "daemon", meant, leaveChildren=True)
    shared.check("cancel", id)
    assert are_gone(herd)


def test_a_daemon_that_is_meant_outlives_its_worker_and_its_leader_does_not(shared: Instance, meant: Path):
    id, herd = caught(shared, "daemon", meant, leaveChildren=True)
    leader = shared.pid(id)
    (daemon,) = set(herd) - {leader}
    kill(shared.worker_of(id))
    assert shared.until(id).error_kind == "lost"
    assert not is_alive(leader)
    assert is_alive(daemon)


# what cannot be guaranteed


def test_only_one_without_an_environment_whose_worker_and_fork_server_were_both_killed_is_not_found(
    live: Instance, tmp_path: Path
):
    id, herd = caught(live, "disguised", tmp_path / "pids")
    leader = live.pid(id)
    (stray,) = set(herd) - {leader}
    worker = live.worker_of(id)
    live.kill("forkServer")
    kill(worker)
    assert live.until(id).error_kind == "lost"
    assert not is_alive(leader)
    assert is_alive(stray)
    kill(stray)
