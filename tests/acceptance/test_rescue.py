"""When a role is killed, its tasks are rescued or adopted at once, and other tasks run on."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from backburner.supervisor.execution.process_tree import children_of
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.journals import wait_for_numbers
from tests.helpers.processes import is_alive, kill
from tests.helpers.rescue import rescue, summary
from tests.helpers.wait import eventually

TRIALS = 8  # scripts/rescue has more


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """Create a pipe that stays open, so that a process that reads from it waits."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    yield path
    os.close(descriptor)


def start_readers(instance: Instance, pipe: Path, count: int) -> list[str]:
    """Start tasks that end when they have read a byte from the pipe."""
    command = ("sh", "-c", f"head -c 1 {pipe}")
    ids = [instance.launch(*command, parentSessionId="p") for _ in range(count)]
    eventually(lambda: all(instance.task(id).pid for id in ids), TIMEOUT, f"{count} tasks to run")
    return ids


def workers(instance: Instance) -> dict[str, tuple[int, int | None]]:
    """Return the pids of the worker and the first process of each task."""
    return {
        one["taskId"]: (one["pid"], instance.task(one["taskId"]).pid)
        for one in instance.status()["workers"]
        if one["taskId"]
    }


def check_ended_once(instance: Instance, ids: list[str]) -> None:
    """Check that each task completed in one attempt and was reported in one batch."""
    for id in ids:
        assert (instance.until(id).status, instance.task(id).attempt) == ("completed", 1)
    reported = Counter(task["id"] for batch in instance.batches("p", len(ids)) for task in batch["tasks"])
    assert reported == Counter(ids)
    assert Counter(id for id in ids for _ in instance.ends(id)) == Counter(ids)


def test_slot_of_a_killed_worker_is_in_use_again_within_250_ms(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=1)
    rescues = [rescue(instance, tmp_path / str(number)) for number in range(TRIALS)]
    assert [one for one in rescues if not one.is_in_order] == []
    assert median(one.seconds for one in rescues) < 0.25, summary(rescues)
    assert max(one.seconds for one in rescues) < 1, summary(rescues)


def test_twenty_tasks_of_a_killed_supervisor_are_adopted_and_reported_once(instance: Instance, pipe: Path):
    settings = {**BRISK, "default_concurrency": 20, "max_workers": 20}
    instance.up(**settings)
    ids = start_readers(instance, pipe, 20)
    before = workers(instance)
    instance.kill("supervisor")
    instance.up(**settings)
    assert workers(instance) == before
    adopted = [True] * 20
    eventually(lambda: [one["adopted"] for one in instance.status()["workers"]] == adopted, TIMEOUT, "their adoption")
    pipe.write_text("x" * 20)
    check_ended_once(instance, ids)


def test_sixteen_tasks_of_a_killed_fork_server_run_on(instance: Instance, pipe: Path):
    instance.up(**BRISK, default_concurrency=17, max_workers=17)
    ids = start_readers(instance, pipe, 16)
    before = workers(instance)
    fork_server = instance.kill("forkServer")
    assert instance.result("true", concurrencyKey="other").status == "completed"  # by a worker of the next fork server
    assert instance.pid_of("forkServer") != fork_server
    assert workers(instance) == before
    assert all(is_alive(pid or 0) for pair in before.values() for pid in pair)
    pipe.write_text("x" * 16)
    check_ended_once(instance, ids)


#: Forks, and runs until it is killed, like the fork.
STAY = """
import os, signal
def stay(file):
    os.fork()
    with open(file, "a") as log:
        log.write(f"{os.getpid()}\\n")
    while True:
        signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can mark the environment of a fork")
@pytest.mark.parametrize("leave_children", [False, True])
def test_call_that_lost_its_worker_and_fork_server_leaves_no_process(
    instance: Instance, tmp_path: Path, leave_children: bool
):
    instance.up(**BRISK)
    (tmp_path / "stays.py").write_text(STAY)
    file = tmp_path / "pids"
    id = instance.launch(call="stays:stay", args=[str(file)], cwd=str(tmp_path), leaveChildren=leave_children)
    runner = instance.pid(id)
    (fork,) = set(wait_for_numbers(file, 2)) - {runner}
    instance.kill("forkServer")
    kill(instance.worker_of(id))
    assert instance.until(id).error_kind == "lost"
    assert (is_alive(runner), is_alive(fork)) == (False, leave_children)
    if leave_children:
        kill(fork)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_stopped_runner_ends_with_its_worker_after_the_fork_server_died(instance: Instance):
    instance.up(**BRISK)
    instance.result(call="time:time")
    worker = instance.status()["workers"][0]["pid"]
    (runner,) = children_of(worker)
    os.kill(runner, signal.SIGSTOP)
    instance.kill("forkServer")
    kill(worker)
    eventually(lambda: not is_alive(runner), TIMEOUT, "the runner to end")
