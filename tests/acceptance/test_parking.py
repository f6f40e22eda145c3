"""Parked workers wait in their slots: a launch starts its task there without the supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backburner.ipc.failpoints import WATCH
from backburner.ipc.model.launch import LaunchInput
from backburner.ipc.store import parking
from backburner.ipc.store.interface import QueueStore
from backburner.ipc.store.parking import pipe_of
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.places import IMPORT_ROOT
from tests.helpers.processes import kill
from tests.helpers.wait import eventually

LAUNCH = """
import sys
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.store.sqlite.store import SqliteStore
from backburner.ipc.home import Home
from backburner.ipc.store.queue import Queue
from backburner.ipc.model.launch import LaunchInput
from pathlib import Path
Queue(SqliteStore(Home(Path(sys.argv[1]))), BackgroundConfig()).launch(LaunchInput(id=sys.argv[2], command=("true",)))
"""


#: One worker and one slot, in which it stays parked for longer than a test takes.
ONE_WORKER = {**BRISK, "default_concurrency": 1, "max_workers": 1, "worker_idle_s": TIMEOUT}


@pytest.fixture
def parked(instance: Instance) -> Instance:
    """Start a supervisor whose only worker is parked in the only slot."""
    return park_workers(instance.up(**ONE_WORKER))


@pytest.fixture(scope="module")
def one_worker(shared_home: Path) -> Iterator[Instance]:
    with Instance(shared_home) as instance:
        yield instance.up(**ONE_WORKER)
        instance.down(now=True)


@pytest.fixture
def shared_parked(one_worker: Instance) -> Instance:
    """Park the only worker of an instance that the tests share. They leave its supervisor running."""
    return park_workers(one_worker)


def park_workers(instance: Instance, *keys: str) -> Instance:
    """Run a task of each key; return when their workers are parked."""
    for key in keys or ("command",):
        assert instance.result("true", concurrencyKey=key).status == "completed"
    eventually(lambda: len(slots(instance).parked()) == max(1, len(keys)), TIMEOUT, "workers to be parked")
    return instance


def slots(instance: Instance) -> QueueStore:
    return instance.store.queue


def worker(instance: Instance) -> int:
    """Return the number of the parked worker."""
    (owner,) = slots(instance).parked()
    return owner


@contextmanager
def supervisor_stopped(instance: Instance) -> Iterator[None]:
    """Suspend the supervisor (SIGSTOP) within the block."""
    supervisor = instance.pid_of("supervisor")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)


def attempts(instance: Instance, id: str) -> list[int]:
    return [event["attempt"] for event in instance.events() if event.get("taskId") == id and "attempt" in event]


def test_launch_starts_in_a_parked_slot_without_the_supervisor(shared_parked: Instance):
    with supervisor_stopped(shared_parked):
        assert [shared_parked.result("echo", str(at)).result for at in range(3)] == ["0", "1", "2"]
        assert shared_parked.result("cat", stdin="hello").result == "hello"


def test_task_whose_message_could_not_be_sent_is_found(parked: Instance):
    (parked.folder / f"{pipe_of(worker(parked))}.wake").unlink()
    with supervisor_stopped(parked):
        assert parked.result("true").status == "completed"


def test_task_whose_message_is_lost_is_found(shared_parked: Instance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parking, "send", lambda *_: True)
    with supervisor_stopped(shared_parked):
        assert shared_parked.result("true").status == "completed"


@pytest.mark.parametrize("edge", ["before", "after"])
def test_task_of_a_launcher_that_dies_at_the_send_runs_once(shared_parked: Instance, tmp_path: Path, edge: str):
    where = f"command wake.send@send {edge}"
    (tmp_path / "order").write_text(json.dumps({"token": "t", "kill": where, "nth": 1}))
    environment = {**os.environ, WATCH: str(tmp_path), "PYTHONPATH": str(IMPORT_ROOT)}
    launch = [sys.executable, "-c", LAUNCH, str(shared_parked.folder), f"dies-{edge}"]
    assert subprocess.run(launch, env=environment, check=False).returncode == -signal.SIGKILL
    assert shared_parked.until(f"dies-{edge}").status == "completed"
    assert attempts(shared_parked, f"dies-{edge}") == [1]


def test_killed_parked_worker_is_replaced(shared_parked: Instance):
    kill(shared_parked.status()["workers"][0]["pid"])
    eventually(lambda: not slots(shared_parked).parked(), TIMEOUT, "the worker's slot to be free")
    assert shared_parked.result("true").status == "completed"


def test_task_claimed_for_a_dead_worker_goes_back_to_the_queue_and_runs(shared_parked: Instance):
    pid = shared_parked.status()["workers"][0]["pid"]
    with supervisor_stopped(shared_parked):
        os.kill(pid, signal.SIGKILL)
        id = shared_parked.launch("true")
        assert shared_parked.task(id).status == "running"
    task = shared_parked.until(id)
    assert (task.status, task.attempt, len(shared_parked.ends(id))) == ("completed", 1, 1)


def test_task_claimed_for_a_worker_that_died_with_its_supervisor_runs_after_up(parked: Instance):
    pid = parked.status()["workers"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    parked.kill("supervisor")
    id = parked.launch("true")
    kill(pid)
    assert parked.task(id).status == "running"
    parked.up(**BRISK)
    task = parked.until(id)
    assert (task.status, task.attempt, len(parked.ends(id))) == ("completed", 1, 1)


def test_parked_worker_exits_when_its_supervisor_is_killed(parked: Instance):
    parked.kill("supervisor")
    eventually(lambda: not parked.status()["workers"], TIMEOUT, "the worker to exit")
    assert slots(parked).parked() == {}
    id = parked.launch("true")
    assert parked.task(id).status == "pending"
    parked.up(**BRISK)
    assert parked.until(id).status == "completed"


def test_worker_with_a_claimed_task_runs_it_after_its_supervisor_died(parked: Instance):
    pid = parked.status()["workers"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    parked.kill("supervisor")
    id = parked.launch("true")
    os.kill(pid, signal.SIGCONT)
    assert parked.until(id).status == "completed"


def test_task_claimed_for_a_stopped_worker_can_be_cancelled(shared_parked: Instance):
    pid = shared_parked.status()["workers"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    id = shared_parked.launch("sleep", "60")
    shared_parked.queue.cancel(id)
    os.kill(pid, signal.SIGCONT)
    assert shared_parked.until(id).status == "cancelled"


def test_group_with_a_parked_worker_can_be_paused(shared_parked: Instance):
    shared_parked.check("pause", "command")
    id = shared_parked.launch("true")
    assert shared_parked.result("true", concurrencyKey="other").status == "completed"
    assert shared_parked.task(id).status == "pending"
    shared_parked.check("resume", "command")
    assert shared_parked.until(id).status == "completed"


def test_limit_of_a_group_with_parked_workers_can_be_lowered(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=2, worker_idle_s=TIMEOUT)
    pipes = [tmp_path / "first", tmp_path / "second"]
    for pipe in pipes:
        os.mkfifo(pipe)
        instance.launch("sh", "-c", f"read line < {pipe}")
    eventually(lambda: instance.key("command")["running"] == 2, TIMEOUT, "both to run")
    for pipe in pipes:
        pipe.write_text("go\n")
    eventually(lambda: len(slots(instance).parked()) == 2, TIMEOUT, "both workers to be parked")
    instance.check("limit", "command", "1")
    first = instance.launch_sleeper()
    second = instance.launch("true")
    assert instance.result("true", concurrencyKey="other").status == "completed"
    assert (instance.task(first).status, instance.task(second).status) == ("running", "pending")
    instance.queue.cancel(first)
    assert instance.until(second).status == "completed"


def test_only_worker_serves_another_group_while_parked(shared_parked: Instance):
    pid = shared_parked.status()["workers"][0]["pid"]
    for key in ("other", "command", "third"):
        assert shared_parked.result("true", concurrencyKey=key).status == "completed"
    assert [one["pid"] for one in shared_parked.status()["workers"]] == [pid]


def test_order_is_kept_when_many_tasks_are_launched_at_once(parked: Instance):
    many = [LaunchInput(command=("true",), priority=priority) for priority in (0, 0, 5)]
    low, next_, high = (one.id for one in parked.queue.launch_many(many))
    for id in (low, next_, high):
        parked.until(id)
    started = [event["taskId"] for event in parked.events() if event["type"] == "background_task_started"][1:]
    assert started == [high, low, next_]


def test_parked_worker_is_shown_idle(shared_parked: Instance):
    (shown,) = json.loads(shared_parked.check("status", "--json"))["workers"]
    assert (shown["concurrencyKey"], shown["slot"], shown["taskId"]) == (None, None, None)


def test_parked_worker_exits_after_worker_idle_s(instance: Instance):
    instance.up(**BRISK, worker_idle_s=0.1)
    assert instance.result("true").status == "completed"
    eventually(lambda: not instance.status()["workers"], TIMEOUT, "the worker to exit")
    assert slots(instance).parked() == {}
    assert instance.result("true").status == "completed"


def test_parked_worker_runs_tasks_after_reload_and_restart(parked: Instance):
    parked.check("reload")
    assert parked.result("true").status == "completed"
    parked.check("restart")
    assert parked.result("true").status == "completed"


def test_down_ends_parked_workers(parked: Instance):
    assert parked.run("down").returncode == 0
    assert parked.status()["workers"] == []
    assert slots(parked).parked() == {}
