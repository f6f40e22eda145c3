"""The runner: started for a worker's first call, kept for the next one, replaced when a call changes it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.model.launch import LaunchInput
from backburner.supervisor.execution.outcome import MAX_INTERRUPTIONS
from backburner.supervisor.execution.process_tree import children_of
from backburner.supervisor.role import TROUBLE_REST
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.processes import are_gone, kill, open_files
from tests.helpers.wait import eventually

JOBS = """
import os, threading

def places():
    return [os.getppid(), os.getpid()]

def linger():
    threading.Thread(target=threading.Event().wait).start()
    return places()

def launch():
    from backburner.ipc.api.manager import BackgroundManager
    with BackgroundManager() as manager:
        return manager.launch(command=["true"]).id

def greet():
    print("hello")
    threading.Event().wait()

def die():
    os.kill(os.getpid(), 9)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the processes and files of a process are read from /proc")


@pytest.fixture
def jobs(instance: Instance, tmp_path: Path) -> Instance:
    (tmp_path / "jobs.py").write_text(JOBS)
    return instance.up(**BRISK, worker_idle_s=600)


def call(instance: Instance, name: str, folder: Path) -> Any:
    task = instance.result(call=f"jobs:{name}", cwd=str(folder), concurrencyKey="one")
    assert task.status == "completed", task.error
    return json.loads(task.result or "null")


@linux
def test_worker_has_no_runner_before_its_first_call(jobs: Instance, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    (worker,) = jobs.status()["workers"]
    assert children_of(worker["pid"]) == set()
    assert call(jobs, "places", tmp_path) == [worker["pid"], *children_of(worker["pid"])]


def test_calls_of_one_worker_share_a_runner(jobs: Instance, tmp_path: Path):
    assert call(jobs, "places", tmp_path) == call(jobs, "places", tmp_path)


def test_worker_and_runner_are_replaced_after_a_call_that_leaves_a_thread(jobs: Instance, tmp_path: Path):
    old = call(jobs, "linger", tmp_path)
    eventually(lambda: are_gone(old), TIMEOUT, "the end of the worker and its runner")
    assert call(jobs, "places", tmp_path) != old


@linux
def test_command_after_a_call_that_left_a_thread_has_no_leftovers(jobs: Instance, tmp_path: Path):
    for _ in range(5):
        jobs.launch(call="jobs:linger", cwd=str(tmp_path), concurrencyKey="one")
        assert jobs.result("true", concurrencyKey="one").leftovers == 0


@linux
def test_runner_shares_only_the_journal_and_the_queue_with_its_worker(jobs: Instance, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    worker, runner = call(jobs, "places", tmp_path)
    (journal,) = (jobs.folder / "output").glob("worker-*.journal")
    queue_for_orders = 1  # both have its receiving end: the worker takes orders back there
    shared = files(worker) & files(runner) - {os.devnull, str(journal)}
    assert len(shared) == queue_for_orders
    assert all(one.startswith("socket:") for one in shared)


def files(pid: int) -> set[str]:
    return {file for number, file in open_files(pid).items() if int(number) > sys.stderr.fileno()}


def test_call_can_launch(jobs: Instance, tmp_path: Path):
    jobs.result("true", concurrencyKey="one")
    assert jobs.until(call(jobs, "launch", tmp_path)).status == "completed"


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_runner_is_replaced_when_the_environment_of_calls_changes(instance: Instance, interpreter: str):
    def configure(value: str) -> None:
        lines = ["[agents.python]", f'env = {{ COLOR = "{value}" }}']
        (instance.folder / "config.toml").write_text("\n".join([*lines, f'interpreter = "{interpreter}"', ""]))

    configure("red")
    instance.up(**BRISK)
    assert color(instance) == "red"
    configure("blue")
    instance.check("reload")
    eventually(lambda: color(instance) == "blue", TIMEOUT, "the new environment")


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_call_runs_after_one_that_killed_its_process(instance: Instance, tmp_path: Path, interpreter: str):
    start(instance, tmp_path, interpreter)
    old = call(instance, "places", tmp_path)
    died = instance.result(call="jobs:die", cwd=str(tmp_path), concurrencyKey="one")
    assert (died.error_kind, died.attempt) == ("signal", 1)
    assert are_gone(old[1:])
    assert call(instance, "places", tmp_path) != old


@pytest.mark.parametrize("interpreter", ["", sys.executable])
def test_output_of_the_first_call_can_be_followed_and_survives_cancelling(
    instance: Instance, tmp_path: Path, interpreter: str
):
    start(instance, tmp_path, interpreter)
    id = instance.launch(call="jobs:greet", cwd=str(tmp_path), stdin="")
    eventually(lambda: instance.check("output", id) == "hello\n", TIMEOUT, "its output")
    assert instance.task(id).status == "running"
    instance.check("cancel", id)
    assert instance.check("output", id) == "hello\n"


def test_interpreter_that_exits_at_once_does_not_use_up_calls_quickly(instance: Instance, tmp_path: Path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    start(instance, tmp_path, str(broken))
    for id in [instance.launch(call="time:time", concurrencyKey="one") for _ in range(2)]:
        task = instance.until(id)
        assert task.error_kind == "lost"
        assert task.completed_at is not None
        assert (task.completed_at - task.queued_at).total_seconds() >= TROUBLE_REST * MAX_INTERRUPTIONS


@linux
def test_outdated_runner_does_not_count_as_a_leftover_of_a_command(instance: Instance, tmp_path: Path):
    start(instance, tmp_path, "")
    worker, _ = call(instance, "places", tmp_path)
    id = instance.launch_sleeper(concurrencyKey="one")
    assert instance.worker_of(id) == worker
    (instance.folder / "config.toml").write_text('[agents.python]\nenv = { COLOR = "red" }\n')
    instance.check("reload")
    assert color(instance, "two") == "red"
    kill(instance.pid(id))
    assert instance.until(id).leftovers == 0
    assert color(instance) == "red"


def test_corrected_interpreter_is_used_for_pending_calls(instance: Instance, tmp_path: Path):
    start(instance, tmp_path, "/no/python")
    launches = [LaunchInput.from_json({"call": "time:time", "cwd": "/", "concurrencyKey": "one"})] * 3000
    ids = [launched.id for launched in instance.queue.launch_many(launches)]
    assert instance.until(ids[0]).error_kind == "spawn"
    (instance.folder / "config.toml").write_text("")
    instance.check("reload")
    assert instance.until(ids[-1]).status == "completed"


def test_calls_that_cannot_be_started_do_not_use_up_workers(instance: Instance, tmp_path: Path):
    start(instance, tmp_path, "/no/python")
    launches = [LaunchInput.from_json({"call": "time:time", "cwd": "/", "concurrencyKey": "one"})] * 300
    ids = [launched.id for launched in instance.queue.launch_many(launches)]
    for id in ids:
        assert instance.until(id).error_kind == "spawn"
    assert "died" not in (instance.folder / "supervisor.log").read_text()


def start(instance: Instance, folder: Path, interpreter: str) -> None:
    (instance.folder / "config.toml").write_text(f'[agents.python]\ninterpreter = "{interpreter}"\n')
    (folder / "jobs.py").write_text(JOBS)
    instance.up(**BRISK)


def color(instance: Instance, key: str = "one") -> str:
    return json.loads(instance.result(call="os:getenv", args=["COLOR"], concurrencyKey=key).result or "null")
