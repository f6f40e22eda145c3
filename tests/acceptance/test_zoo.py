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
from tests.helpers.stage import Stage, gone, kill, lives, numbers
from tests.helpers.wait import eventually
from tests.helpers.zoo import HERD, animal

ANIMALS = sorted(HERD)

#: What is left of one that ended by itself: so many processes. A breeder is between two generations.
LEFT = {name: HERD[name] - 1 for name in HERD} | {"pipeline": 0, "breeder": 1}


def caught(stage: Stage, name: str, file: Path, **fields: object) -> tuple[str, list[int]]:
    """A running animal, and its processes."""
    id = stage.launch(*animal(name, file), **fields)
    return id, numbers(file, HERD[name])


def nobody_is_left(stage: Stage, file: Path) -> bool:
    """Whether an animal is gone, the processes that it wrote down and the others."""
    return gone([int(line) for line in file.read_text().splitlines()]) and not marked_processes(stage.folder)


@pytest.mark.parametrize("name", [name for name in ANIMALS if name != "orphans"])
def test_what_ends_by_itself_is_judged_by_its_leader_and_nothing_of_it_is_left(shared: Stage, tmp_path: Path, name):
    task = shared.result(*animal(name, tmp_path / "herd", "leaves"))
    assert (task.status, task.result, task.exit_code, task.signal) == ("completed", "well", 0, None), task.error
    parent = name == "breeder"  # one that has just forked may not be gone yet
    assert LEFT[name] <= task.leftovers <= LEFT[name] + parent
    assert nobody_is_left(shared, tmp_path / "herd")


def test_a_leader_that_dies_before_its_children_has_died_of_what_killed_it(shared: Stage, tmp_path: Path):
    task = shared.result(*animal("orphans", tmp_path / "herd", "leaves"))
    assert (task.status, task.error_kind, task.signal, task.leftovers) == ("error", "signal", signal.SIGABRT, 2)
    assert nobody_is_left(shared, tmp_path / "herd")


@pytest.mark.parametrize("name", ANIMALS)
def test_what_is_cancelled_is_cancelled_however_it_takes_it(shared: Stage, tmp_path: Path, name):
    id, _ = caught(shared, name, tmp_path / "herd")
    shared.say("cancel", id)
    assert nobody_is_left(shared, tmp_path / "herd")
    assert shared.task(id).status == "cancelled"


@pytest.mark.parametrize("name", ANIMALS)
def test_what_runs_too_long_has_timed_out_however_it_takes_it(shared: Stage, tmp_path: Path, name):
    (tmp_path / "herd").touch()
    task = shared.result(*animal(name, tmp_path / "herd"), timeoutMs=500)
    assert nobody_is_left(shared, tmp_path / "herd")
    assert (task.status, task.error_kind) == ("error", "timeout")


@pytest.mark.parametrize("name", ANIMALS)
def test_what_loses_its_worker_is_lost_and_nothing_of_it_is_left(shared: Stage, tmp_path: Path, name):
    id, _ = caught(shared, name, tmp_path / "herd")
    kill(shared.worker_of(id))
    task = shared.until(id)
    assert nobody_is_left(shared, tmp_path / "herd")
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


def test_what_the_kernel_kills_for_its_memory_died_of_a_signal_and_not_of_ours(shared: Stage, small_group: Path):
    task = shared.result(sys.executable, "-S", "-c", EAT, str(small_group))
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)
    assert task.error == "It was ended by SIGKILL."


def test_what_the_kernel_kills_for_its_time_died_of_a_signal_and_not_of_ours(shared: Stage):
    task = shared.result(sys.executable, "-S", "-c", BURN, timeoutMs=60_000)
    assert (task.status, task.error_kind, task.signal) == ("error", "signal", signal.SIGKILL)


# daemons that are meant


@pytest.fixture
def meant(shared: Stage, tmp_path: Path) -> Iterator[Path]:
    """Where an animal writes its herd that is to live on; it is ended here."""
    yield tmp_path / "herd"
    for pid in numbers(tmp_path / "herd", 1):
        if lives(pid):
            kill(pid)


def test_a_daemon_that_is_meant_outlives_its_task_and_the_next_one(shared: Stage, meant: Path):
    task = shared.result(*animal("daemon", meant, "leaves"), leaveChildren=True)
    assert (task.status, task.result) == ("completed", "well")
    assert shared.result("true").leftovers == 0
    daemon, leader = numbers(meant, 2)
    assert lives(daemon)
    assert not lives(leader)


def test_a_daemon_that_is_meant_goes_with_a_task_that_is_cancelled(shared: Stage, meant: Path):
    id, herd = caught(shared, "daemon", meant, leaveChildren=True)
    shared.say("cancel", id)
    assert gone(herd)


def test_a_daemon_that_is_meant_outlives_its_worker_and_its_leader_does_not(shared: Stage, meant: Path):
    id, herd = caught(shared, "daemon", meant, leaveChildren=True)
    leader = shared.pid(id)
    (daemon,) = set(herd) - {leader}
    kill(shared.worker_of(id))
    assert shared.until(id).error_kind == "lost"
    assert not lives(leader)
    assert lives(daemon)


# what cannot be guaranteed


def test_only_one_without_an_environment_whose_worker_and_fork_server_were_both_killed_is_not_found(
    live: Stage, tmp_path: Path
):
    id, herd = caught(live, "disguised", tmp_path / "herd")
    leader = live.pid(id)
    (stray,) = set(herd) - {leader}
    worker = live.worker_of(id)
    live.kill("forkServer")
    kill(worker)
    assert live.until(id).error_kind == "lost"
    assert not lives(leader)
    assert lives(stray)
    kill(stray)
