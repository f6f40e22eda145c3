"""Whoever is killed: what he looked after is rescued at once, and nobody else is disturbed."""

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
from tests.helpers.rescue import rescue, summary
from tests.helpers.stage import PATIENCE, Stage, kill, lives, numbers
from tests.helpers.wait import eventually

TRIALS = 20


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe that stays open, so that whoever reads from it waits."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    yield path
    os.close(descriptor)


def held(stage: Stage, pipe: Path, count: int) -> list[str]:
    """So many running tasks, each of which ends when it has read a byte from the pipe."""
    command = ("sh", "-c", f"head -c 1 {pipe}")
    ids = [stage.launch(*command, parentSessionId="p") for _ in range(count)]
    eventually(lambda: all(stage.task(id).pid for id in ids), PATIENCE, f"{count} tasks to run")
    return ids


def workers(stage: Stage) -> dict[str, tuple[int, int | None]]:
    """Per task: its worker and its first process."""
    return {
        one["taskId"]: (one["pid"], stage.task(one["taskId"]).pid) for one in stage.status()["workers"] if one["taskId"]
    }


def ended_once(stage: Stage, ids: list[str]) -> None:
    """All are completed, each told of once, in one batch, after one attempt."""
    for id in ids:
        assert (stage.until(id).status, stage.task(id).attempt) == ("completed", 1)
    told = Counter(task["id"] for batch in stage.batches("p", len(ids)) for task in batch["tasks"])
    assert told == Counter(ids)
    assert Counter(id for id in ids for _ in stage.ends(id)) == Counter(ids)


@pytest.mark.timeout(120)
def test_a_killed_workers_slot_is_in_use_again_within_a_quarter_of_a_second(stage: Stage, tmp_path: Path):
    stage.up(**BRISK, default_concurrency=1)
    rescues = [rescue(stage, tmp_path / str(number)) for number in range(TRIALS)]
    assert [one for one in rescues if not one.well] == []
    assert median(one.seconds for one in rescues) < 0.25, summary(rescues)
    assert max(one.seconds for one in rescues) < 1, summary(rescues)


def test_a_killed_supervisors_twenty_tasks_are_adopted_end_normally_and_are_told_once(stage: Stage, pipe: Path):
    settings = {**BRISK, "default_concurrency": 20, "max_workers": 20}
    stage.up(**settings)
    ids = held(stage, pipe, 20)
    before = workers(stage)
    stage.kill("supervisor")
    stage.up(**settings)
    assert workers(stage) == before
    assert [one["adopted"] for one in stage.status()["workers"]] == [True] * 20
    pipe.write_text("x" * 20)
    ended_once(stage, ids)


def test_a_killed_fork_servers_sixteen_tasks_are_not_disturbed(stage: Stage, pipe: Path):
    stage.up(**BRISK, default_concurrency=17, max_workers=17)
    ids = held(stage, pipe, 16)
    before = workers(stage)
    fork_server = stage.kill("forkServer")
    assert stage.result("true", concurrencyKey="other").status == "completed"  # by a worker of the next fork server
    assert stage.pid_of("forkServer") != fork_server
    assert workers(stage) == before
    assert all(lives(pid or 0) for pair in before.values() for pid in pair)
    pipe.write_text("x" * 16)
    ended_once(stage, ids)


#: Forks, and neither the call nor its fork ever returns.
STAY = """
import os, signal
def stay(file):
    os.fork()
    with open(file, "a") as log:
        log.write(f"{os.getpid()}\\n")
    while True:
        signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of a fork can be marked on Linux alone")
@pytest.mark.parametrize("spared", [False, True])
def test_of_a_call_that_lost_its_worker_and_the_fork_server_nothing_is_left(stage: Stage, tmp_path: Path, spared: bool):
    stage.up(**BRISK)
    (tmp_path / "stays.py").write_text(STAY)
    file = tmp_path / "pids"
    id = stage.launch(call="stays:stay", args=[str(file)], cwd=str(tmp_path), leaveChildren=spared)
    runner, fork = numbers(file, 2) if stage.pid(id) == numbers(file, 2)[0] else numbers(file, 2)[::-1]
    stage.kill("forkServer")
    kill(stage.worker_of(id))
    assert stage.until(id).error_kind == "lost"
    assert (lives(runner), lives(fork)) == (False, spared)
    if spared:
        kill(fork)


@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death ends a process on Linux alone")
def test_a_runner_that_was_stopped_goes_with_its_worker_though_the_fork_server_is_dead(stage: Stage):
    stage.up(**BRISK)
    stage.result(call="time:time")
    worker = stage.status()["workers"][0]["pid"]
    (runner,) = children_of(worker)
    os.kill(runner, signal.SIGSTOP)
    stage.kill("forkServer")
    kill(worker)
    eventually(lambda: not lives(runner), PATIENCE, "the end of the runner")
