from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, launch_running, show, stdout_of


def test_task_completes_itself_without_naming_its_id(supervised: Path):
    progress, complete = (shlex.join(program(verb)) for verb in ("progress", "complete"))
    id = launch(supervised, "--", "sh", "-c", f"{progress} half && {complete} --result whole; sleep 600")
    stdout_of(supervised, "wait", id)
    task = show(supervised, id)
    assert (task["status"], task["result"], task["progress"]) == ("completed", "whole", "half")


def test_complete_works_without_supervisor_and_worker(supervised: Path):
    id = launch_running(supervised)
    found = json.loads(stdout_of(supervised, "status", "--json"))
    worker = next(worker["pid"] for worker in found["workers"] if worker["taskId"] == id)
    for victim in (found["supervisor"]["pid"], found["forkServer"]["pid"], worker):
        os.kill(victim, signal.SIGKILL)
    assert backburner(supervised, "complete", id, "--result", "ok").stdout == f"{id[3:11]} completed\n"
    assert show(supervised, id)["result"] == "ok"
    stdout_of(supervised, "up", "--detach")


def test_complete_stores_the_result(cli: Cli, tasks: Tasks):
    id = tasks.running()
    result = cli("complete", id, "--result", "done")
    assert (result.code, result.out) == (0, f"{id[3:11]} completed\n")
    assert tasks.get(id).result == "done"


@pytest.mark.parametrize("words", [("complete",), ("fail", "--error", "x"), ("progress", "text")])
def test_verdict_on_a_task_that_is_not_running_is_refused(cli: Cli, tasks: Tasks, words: tuple[str, ...]):
    verb, *rest = words
    result = cli(verb, tasks.pending(), *rest)
    assert result.code == 5
    assert "is not running (pending)" in result.err
