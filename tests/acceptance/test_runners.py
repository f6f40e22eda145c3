"""Which process runs a call: made for the first one, kept for the next ones, replaced when a call has changed it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor.execution.trees import children_of
from tests.acceptance.conftest import BRISK
from tests.helpers.moment import eventually
from tests.helpers.stage import PATIENCE, Stage, descriptors, gone, lives

JOBS = """
import os, threading

def places():
    return [os.getppid(), os.getpid()]

def linger():
    threading.Thread(target=threading.Event().wait).start()
    return places()

def launch():
    from ipc.manager import BackgroundManager
    with BackgroundManager() as manager:
        return manager.launch(command=["true"]).id

def die():
    os.kill(os.getpid(), 9)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the processes and files of a process are read from /proc")


@pytest.fixture
def jobs(live: Stage, tmp_path: Path) -> Stage:
    (tmp_path / "jobs.py").write_text(JOBS)
    return live


def call(stage: Stage, name: str, folder: Path) -> Any:
    task = stage.result(call=f"jobs:{name}", cwd=str(folder), concurrencyKey="one")
    assert task.status == "completed", task.error
    return json.loads(task.result or "null")


@linux
def test_worker_has_no_runner_before_its_first_call(jobs: Stage, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    (worker,) = jobs.status()["workers"]
    assert children_of(worker["pid"]) == set()
    assert call(jobs, "places", tmp_path) == [worker["pid"], *children_of(worker["pid"])]


def test_calls_of_one_worker_share_a_runner(jobs: Stage, tmp_path: Path):
    assert call(jobs, "places", tmp_path) == call(jobs, "places", tmp_path)


def test_runner_that_has_a_thread_left_is_ended_at_once_and_replaced_in_the_same_worker(jobs: Stage, tmp_path: Path):
    worker, runner = call(jobs, "linger", tmp_path)
    eventually(lambda: not lives(runner), PATIENCE, "the end of the runner")
    next_worker, next_runner = call(jobs, "places", tmp_path)
    assert next_worker == worker
    assert next_runner != runner


@linux
def test_command_after_a_call_that_left_a_thread_has_nothing_left_over(jobs: Stage, tmp_path: Path):
    for _ in range(5):
        jobs.launch(call="jobs:linger", cwd=str(tmp_path), concurrencyKey="one")
        assert jobs.result("true", concurrencyKey="one").leftovers == 0


@linux
def test_runner_has_no_files_of_its_worker_but_the_journal(jobs: Stage, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    worker, runner = call(jobs, "places", tmp_path)
    (journal,) = (jobs.folder / "output").glob("worker-*.journal")
    queue_for_orders = 1  # the worker takes orders back at the end that the runner receives them from
    shared = files(worker) & files(runner) - {os.devnull, str(journal)}
    assert len(shared) == queue_for_orders
    assert all(one.startswith("socket:") for one in shared)


def files(pid: int) -> set[str]:
    return {file for number, file in descriptors(pid).items() if int(number) > sys.stderr.fileno()}


def test_call_can_launch(jobs: Stage, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    assert jobs.until(call(jobs, "launch", tmp_path)).status == "completed"


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_runner_is_replaced_when_the_environment_of_calls_changes(stage: Stage, interpreter: str):
    def configure(value: str) -> None:
        lines = ["[agents.python]", f'env = {{ COLOR = "{value}" }}']
        (stage.folder / "config.toml").write_text("\n".join([*lines, f'interpreter = "{interpreter}"', ""]))

    configure("red")
    stage.up(**BRISK)
    assert color(stage) == "red"
    configure("blue")
    stage.say("reload")
    eventually(lambda: color(stage) == "blue", PATIENCE, "the new environment")


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_worker_outlives_a_runner_that_a_call_kills(stage: Stage, tmp_path: Path, interpreter: str):
    (stage.folder / "config.toml").write_text(f'[agents.python]\ninterpreter = "{interpreter}"\n')
    (tmp_path / "jobs.py").write_text(JOBS)
    stage.up(**BRISK)
    for _ in range(2):
        worker, runner = call(stage, "places", tmp_path)
        died = stage.result(call="jobs:die", cwd=str(tmp_path), concurrencyKey="one")
        assert (died.error_kind, died.attempt) == ("signal", 1)
        assert gone([runner])
    assert call(stage, "places", tmp_path)[0] == worker


def color(stage: Stage) -> str:
    return json.loads(stage.result(call="os:getenv", args=["COLOR"], concurrencyKey="one").result or "null")
