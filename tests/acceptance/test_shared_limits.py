"""A shared limit counts the tasks of all state directories of the user, whichever process is killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.machine.home_registry import registered
from backburner.ipc.machine.shared_slots import count_taken
from tests.acceptance.conftest import BRISK
from tests.conftest import empty_home
from tests.helpers.instance import TIMEOUT, Instance
from tests.helpers.processes import is_alive, kill, look_up
from tests.helpers.wait import eventually

LIMIT = {"gpu": 1}


@pytest.fixture(autouse=True)
def shared_limit() -> None:
    """Add a shared limit to the user's own configuration."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    file.write_text("autostart = false\n[shared_limits]\ngpu = 1\n")


@pytest.fixture
def other() -> Iterator[Instance]:
    """A second state directory with a supervisor."""
    with empty_home() as folder, Instance(folder) as other:
        yield other.up(**BRISK)
        other.down(now=True)


def shown(instance: Instance, id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(instance.check("show", "--json", id))
    return document


def test_task_waits_for_the_slot_that_another_project_uses(live: Instance, other: Instance):
    running = live.launch_sleeper(concurrencyKey="gpu")
    waiting = other.launch("true", concurrencyKey="gpu")
    assert other.result("true", concurrencyKey="other").status == "completed"
    task = shown(other, waiting)
    assert (task["status"], task["waitingFor"]) == ("pending", "slot")
    assert {home.folder for home in registered()} == {live.folder, other.folder}
    live.check("cancel", running)
    assert other.until(waiting).status == "completed"
    eventually(lambda: count_taken(LIMIT) == {"gpu": 0}, TIMEOUT)


def test_calls_and_commands_of_a_long_queue_run_one_by_one(live: Instance, other: Instance):
    ids = [
        (instance, instance.launch(**fields, concurrencyKey="gpu"))
        for instance in (live, other)
        for fields in [{"command": ["true"]}, {"call": "os:getpid"}] * 5
    ]
    times = []
    for instance, id in ids:
        task = instance.until(id)
        assert task.status == "completed", task
        assert task.started_at is not None
        assert task.completed_at is not None
        times.append((task.started_at, task.completed_at))
    times.sort()
    assert all(after[0] >= before[1] for before, after in pairwise(times))


def wait_for_slot_of(pid: int) -> None:
    """Wait until a process has received a copy of the slot."""
    slots = f"{os.environ['XDG_STATE_HOME']}/backburner/slots"

    def has_received() -> bool:
        with suppress(FileNotFoundError):  # a descriptor was closed meanwhile
            return any(os.readlink(file) == slots for file in Path(f"/proc/{pid}/fd").iterdir())
        return False

    eventually(has_received, TIMEOUT, f"{pid} to hold the slot")


def kill_nothing(instance: Instance) -> None:
    """Stop the supervisor, so that it settles nothing."""
    os.kill(instance.pid_of("supervisor"), signal.SIGSTOP)


def kill_fork_server(instance: Instance) -> None:
    """Kill the fork server, and stop the supervisor when it has started another one and given it the slot."""
    before = instance.kill("forkServer")
    after = eventually(lambda: (instance.status()["forkServer"] or {}).get("pid", before) != before, TIMEOUT)
    assert after
    wait_for_slot_of(instance.pid_of("forkServer"))
    kill_nothing(instance)


def kill_supervisor(instance: Instance) -> None:
    """Kill the supervisor."""
    instance.kill("supervisor")


@pytest.mark.parametrize("kill_other", [kill_nothing, kill_fork_server, kill_supervisor])
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_shared_slot_of_a_killed_worker_is_taken_until_its_task_is_settled(live: Instance, kill_other):
    id = live.launch_sleeper(concurrencyKey="gpu")
    task, worker = live.pid(id), live.worker_of(id)
    kill_other(live)
    kill(worker)
    if kill_other is not kill_fork_server:
        eventually(lambda: not Path(f"/proc/{worker}").exists(), TIMEOUT, "the fork server to notice the death")
    assert all(count_taken(LIMIT) == {"gpu": 1} for _ in range(100))
    assert is_alive(task)
    supervisor = live.status()["supervisor"]
    if supervisor is None:
        live.up(**BRISK)
    else:
        os.kill(supervisor["pid"], signal.SIGCONT)
    assert live.until(id).error_kind == "lost"
    eventually(lambda: count_taken(LIMIT) == {"gpu": 0}, TIMEOUT)
    assert live.result("true", concurrencyKey="gpu").status == "completed"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from /proc")
def test_slot_follows_a_restarted_supervisor(live: Instance):
    id = live.launch_sleeper(concurrencyKey="gpu")
    live.kill("supervisor")
    live.up(**BRISK)
    wait_for_slot_of(live.pid_of("supervisor"))
    live.kill("forkServer")
    worker, task = live.worker_of(id), live.pid(id)
    os.kill(live.pid_of("supervisor"), signal.SIGSTOP)
    kill(worker)
    assert look_up(task) is not None
    assert count_taken(LIMIT) == {"gpu": 1}
    os.kill(live.pid_of("supervisor"), signal.SIGCONT)
    assert live.until(id).error_kind == "lost"
    eventually(lambda: count_taken(LIMIT) == {"gpu": 0}, TIMEOUT)


def test_supervisor_that_cannot_write_the_state_folder_warns_and_runs_tasks(instance: Instance, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    instance.up(**BRISK)
    assert instance.result("true", concurrencyKey="gpu").status == "completed"
    assert instance.home.log.read_text().count("shared limits do not count now") == 1


def test_reload_applies_a_shared_limit_to_the_tasks_that_start_afterwards(live: Instance):
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    file.write_text("autostart = false\n")
    live.check("reload")
    assert live.result("true", concurrencyKey="gpu").status == "completed"
    file.write_text("autostart = false\n[shared_limits]\ngpu = 1\n")
    live.check("reload")
    first = live.launch_sleeper(concurrencyKey="gpu")
    second = live.launch("true", concurrencyKey="gpu")
    assert live.result("true", concurrencyKey="other").status == "completed"
    assert shown(live, second)["waitingFor"] == "slot"
    live.check("cancel", first)
    assert live.until(second).status == "completed"
