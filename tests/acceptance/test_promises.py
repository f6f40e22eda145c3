"""Failures that users of other programs reported. docs/explanation/promises.md lists them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.home import Home
from backburner.ipc.machine.identity import Identity
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import FOREVER, TIMEOUT, Instance
from tests.helpers.processes import is_alive, kill
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

#: Runs a command, then waits, as a session does that has launched a task.
SESSION = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True); import signal; signal.pause()"


def command(instance: Instance, *words: str) -> list[str]:
    return program("--home", str(instance.folder), *words)


# tasks outlive their launchers


def test_task_outlives_the_session_that_launched_it(shared: Instance, tmp_path: Path):
    go = tmp_path / "go"
    os.mkfifo(go)
    launch = command(shared, "launch", "--parent", "outlived", "--", "sh", "-c", f"cat {go}")
    with subprocess.Popen(
        [sys.executable, "-c", SESSION, *launch], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as session:
        assert session.stdout is not None
        id = session.stdout.readline().strip()
        shared.pid(id)
        os.killpg(session.pid, signal.SIGKILL)
    go.write_text("done")
    waited = shared.run("wait", "--parent", "outlived")
    assert (waited.returncode, shared.task(id).result) == (0, "done")
    assert shared.batches("outlived", 1)[0]["allComplete"] is True


def test_task_that_another_task_launched_outlives_it(shared: Instance):
    launch = command(shared, "launch", "--parent", "me", "--", *FOREVER)
    outer = shared.result(*launch)
    assert (outer.status, outer.leftovers) == ("completed", 0)
    inner = outer.result or ""
    assert is_alive(shared.pid(inner))
    shared.check("cancel", inner)


# tasks that wait for their own slot


def test_task_that_would_wait_for_its_own_slot_is_refused(live: Instance):
    live.check("limit", "one", "1")
    inner = command(live, "run", "--key", "one", "--", "true")
    outer = live.result(*inner, concurrencyKey="one")
    assert (outer.status, outer.exit_code) == ("error", 5)
    assert "--key" in (outer.error or "")
    assert [task["status"] for task in json.loads(live.check("list", "--json"))] == ["cancelled", "error"]


def test_callable_that_would_wait_for_its_own_slot_is_refused(shared: Instance, tmp_path: Path):
    shared.check("limit", "own", "1")
    (tmp_path / "waits.py").write_text(
        "from backburner import BackgroundManager\n"
        "def wait():\n"
        "    with BackgroundManager() as manager:\n"
        "        manager.wait(manager.launch(command=['true'], concurrency_key='own').id)\n"
    )
    task = shared.result(call="waits:wait", concurrencyKey="own", cwd=str(tmp_path))
    assert task.status == "error"
    assert re.search("MoveNotAllowed.* waits for the only slot of own", task.error or "", re.DOTALL), task.error


def test_task_may_wait_for_a_task_with_another_key(shared: Instance):
    outer = shared.result(*command(shared, "run", "--key", "another", "--", "echo", "hi"), concurrencyKey="two")
    assert (outer.status, outer.result) == ("completed", "hi")


# rescue needs proof of death


def test_stopped_worker_keeps_its_task_under_a_new_supervisor(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=1)
    go = tmp_path / "go"
    os.mkfifo(go)
    id = instance.launch("sh", "-c", f"cat {go}")
    worker = instance.worker_of(id)
    instance.pid(id)
    os.kill(worker, signal.SIGSTOP)
    after = instance.launch("true")
    instance.kill("supervisor")
    instance.up(**BRISK, default_concurrency=1)
    instance.result("true", concurrencyKey="other")
    assert (instance.task(id).status, instance.task(after).status) == ("running", "pending")
    os.kill(worker, signal.SIGCONT)
    go.write_text("done")
    assert instance.until(id).result == "done"
    assert (instance.task(id).attempt, len(instance.ends(id))) == (1, 1)
    assert instance.until(after).status == "completed"


def test_pid_of_a_worker_that_now_is_another_process_is_left_alone(home: Path, instance: Instance):
    with QueueDatabase(home) as queue_db:  # its worker has the pid of this process, which started later
        id = queue_db.launch(parent_session_id="p")
        assert queue_db.claim() is not None
    instance.up(**BRISK)
    task = instance.until(id, "error", "completed")
    assert task.status == "completed"  # it had not started, so it was requeued and run
    assert len(instance.ends(id)) == 1
    assert Identity.mine().alive()


def test_tasks_of_dead_workers_are_rescued_before_the_first_claim(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=1)
    running = instance.launch(*FOREVER, concurrencyKey="one")
    pid, worker = instance.pid(running), instance.worker_of(running)
    waiting = instance.launch("true", concurrencyKey="one")
    other = instance.launch("sh", "-c", f"kill -0 {pid} 2>/dev/null; echo $?", concurrencyKey="two", delayMs=1500)
    instance.kill("supervisor")
    kill(worker)
    instance.up(**BRISK, default_concurrency=1)
    assert instance.until(waiting).status == "completed"
    events = [(event["type"].rpartition("_")[2], event.get("taskId")) for event in instance.events()]
    assert events.index(("completed", running)) < events.index(("started", waiting))
    assert instance.until(other).result == "1"


# lost wake-ups


def test_task_is_started_although_its_wake_up_is_lost(shared: Instance, monkeypatch: pytest.MonkeyPatch):
    shared.result("true")
    with monkeypatch.context() as patch:
        patch.setattr(Home, "wake", lambda *_: False)
        ids = [shared.launch("true", parentSessionId="hints") for _ in range(3)]
    for id in ids:
        assert shared.until(id).status == "completed"
    assert sum(batch["count"] for batch in shared.batches("hints", 3)) == 3


# repeated and conflicting commands


def test_sigterm_during_startup_stops_the_supervisor(instance: Instance):
    for _ in range(3):
        with subprocess.Popen(
            command(instance, "up"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as starting:
            eventually(lambda: instance.folder.joinpath("supervisor.lock").exists(), TIMEOUT)
            os.kill(starting.pid, signal.SIGTERM)
            starting.wait(TIMEOUT)
        eventually(lambda: instance.run("down").returncode in (0, 4), TIMEOUT)
        assert (instance.status()["supervisor"], instance.status()["flusher"]) == (None, None)


def test_repeated_commands_take_effect_once(live: Instance):
    id = live.launch_sleeper(parentSessionId="p")
    assert live.run("cancel", id).returncode == 0
    assert live.run("cancel", id).returncode == 5
    assert live.run("pause", "opus").returncode == live.run("pause", "opus").returncode == 0
    assert live.run("resume", "opus").returncode == live.run("resume", "opus").returncode == 0
    assert len(live.ends(id)) == 1
    assert live.run("down").returncode == 0
    assert live.run("down").returncode == 4


# tasks are found by their ids


def test_task_is_found_by_id_from_any_folder_after_its_session_has_gone(
    live: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    id = live.result("echo", "hi", parentSessionId="gone").id
    live.down()
    monkeypatch.chdir(tmp_path)
    assert live.check("output", id[3:11]) == "hi\n"
    assert json.loads(live.check("show", "--json", id))["parentSessionId"] == "gone"


# many writers


def test_six_launchers_at_once_all_succeed(shared: Instance):
    launchers = [
        subprocess.Popen(
            command(shared, "launch", "--from-file", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    line = json.dumps({"command": ["true"], "parentSessionId": "launchers"}) + "\n"
    ids = [one.communicate(line * 20, timeout=TIMEOUT)[0].split() for one in launchers]
    assert [one.returncode for one in launchers] == [0] * 6
    assert [len(one) for one in ids] == [20] * 6
    assert len({id for one in ids for id in one}) == 120
    assert sum(batch["count"] for batch in shared.batches("launchers", 120)) == 120
    seqs = [event["seq"] for event in shared.events("launchers")]
    assert all(first < second for first, second in pairwise(seqs))


# large tasks


def test_tasks_with_large_metadata_are_each_reported_once(shared: Instance):
    large = {"x": "y" * 700_000}
    ids = [shared.launch("true", metadata=large, parentSessionId="large", concurrencyKey="large") for _ in range(5)]
    reported = [task["id"] for batch in shared.batches("large", len(ids)) for task in batch["tasks"]]
    assert sorted(reported) == sorted(ids)
