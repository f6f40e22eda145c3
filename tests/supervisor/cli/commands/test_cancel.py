from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from backburner.ipc.model.task import TaskStatus
from tests.helpers.commands import backburner
from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, launch_running, lives, show, stdout_of


def test_cancel_returns_when_the_process_tree_is_gone(supervised: Path, tmp_path: Path):
    pids = tmp_path / "pids"
    id = launch(supervised, "--", "sh", "-c", f"setsid sleep 600 & echo $! > {pids}; echo $$ >> {pids}; sleep 600")
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    assert stdout_of(supervised, "cancel", id) == f"{id[3:11]} cancelled\n"
    assert [pid for pid in pids.read_text().split() if lives(int(pid))] == []


def test_cancel_works_without_supervisor_and_worker(supervised: Path):
    id = launch_running(supervised)
    pid = show(supervised, id)["pid"]
    found = json.loads(stdout_of(supervised, "status", "--json"))
    worker = next(worker["pid"] for worker in found["workers"] if worker["taskId"] == id)
    for victim in (found["supervisor"]["pid"], found["forkServer"]["pid"], worker):
        os.kill(victim, signal.SIGKILL)
    assert backburner(supervised, "cancel", id).stdout == f"{id[3:11]} cancelled\n"
    assert not lives(pid)
    stdout_of(supervised, "up", "--detach")  # adopts the flusher, so that `down` ends it


def test_cancel_needs_no_supervisor(cli: Cli, tasks: Tasks):
    pending, external = tasks.pending(), tasks.running()
    result = cli("cancel", pending, external, "--json")
    assert [task["status"] for task in result.json] == ["cancelled", "cancelled"]
    assert cli("cancel", pending).code == 5


def test_cancel_by_session_ends_all_its_unfinished_tasks(cli: Cli, tasks: Tasks):
    mine = [tasks.pending(parent_session_id="me"), tasks.running(parent_session_id="me")]
    other, ended = tasks.pending(parent_session_id="you"), tasks.ended(parent_session_id="me")
    assert cli("cancel", "--parent", "me").code == 0
    assert {tasks.get(id).status for id in mine} == {TaskStatus.CANCELLED}
    assert tasks.get(other).status is TaskStatus.PENDING
    assert tasks.get(ended).status is TaskStatus.COMPLETED
    assert cli("cancel", "--parent", "me").code == 0


def test_cancel_all_cancels_every_unfinished_task(cli: Cli, tasks: Tasks):
    ids = {tasks.pending(), tasks.pending(parent_session_id="p"), tasks.running()}
    done = tasks.ended()
    assert {task["id"] for task in cli("cancel", "--all", "--json").json} == ids
    assert tasks.get(done).status is TaskStatus.COMPLETED
    assert cli("cancel", "--all").code == 0
    assert cli("cancel", "--all", done).code == 2
