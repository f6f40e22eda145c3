from __future__ import annotations

import json
from pathlib import Path

from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.cli.tables import display_width
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch_running, stdout_of
from tests.supervisor.cli.terminal import Terminal


def test_status_shows_processes_and_their_tasks(supervised: Path):
    id = launch_running(supervised, "--key", "k")
    found = json.loads(stdout_of(supervised, "status", "--json"))
    assert found["supervisor"]["pid"] == holder(Home(supervised).lock("supervisor"))
    assert found["flusher"]["pid"]
    assert found["forkServer"]["pid"]
    worker = next(worker for worker in found["workers"] if worker["taskId"] == id)
    assert (worker["concurrencyKey"], worker["slot"], worker["adopted"]) == ("k", 0, False)
    assert id[3:11] in stdout_of(supervised, "status")
    stdout_of(supervised, "cancel", id)


def test_backburner_without_a_command_prints_status_and_creates_nothing(cli: Cli, home: Path):
    result = cli()
    assert result.code == 0
    assert str(home) in result.out
    assert "not running" in result.out
    assert [path.name for path in home.iterdir()] == []


def test_status_json_has_the_fields_of_the_contract(cli: Cli, home: Path, tasks: Tasks):
    id = tasks.running(concurrency_key="opus")
    tasks.pending(concurrency_key="opus")
    found = cli("status", "--json").json
    assert set(found) == {
        "supervisor", "flusher", "forkServer", "workers", "keys", "log", "home", "socket", "version", "sqlite",
        "movedFrom", "sizeBytes",
    }  # fmt: skip
    assert found["supervisor"] is found["flusher"] is found["forkServer"] is None
    assert found["keys"] == [{"key": "opus", "limit": 2, "running": 1, "pending": 1, "paused": False}]
    assert found["log"]["lastSeq"] == 1
    assert found["home"] == str(home)
    assert tasks.get(id).status is TaskStatus.RUNNING


def test_status_hides_limits_that_come_with_the_program_and_are_not_used(supervised: Path):
    stdout_of(supervised, "limit", "docs", "1")
    keys = [key["key"] for key in json.loads(stdout_of(supervised, "status", "--json"))["keys"]]
    assert {"haiku", "opus", "sonnet", "docs"} <= set(keys)
    shown = stdout_of(supervised, "status")
    assert "docs" in shown
    assert not any(name in shown for name in ("haiku", "opus", "sonnet"))
    stdout_of(supervised, "pause", "opus")
    shown = stdout_of(supervised, "status")
    assert "opus" in shown and "haiku" not in shown
    stdout_of(supervised, "resume", "opus")
    stdout_of(supervised, "limit", "docs", "default")


def test_status_fits_the_terminal_and_has_local_times(tasks: Tasks, home: Path):
    tasks.running(concurrency_key="a-key-with-a-very-long-name/" * 3)
    for columns in (60, 80, 200):
        with Terminal("status", columns=columns) as terminal:
            assert terminal.end() == 0
        table = terminal.plain.split("\n\n")[1].splitlines()
        assert max(map(display_width, table)) <= columns
        assert table[0].split() == ["KEY", "LIMIT", "RUNNING", "PENDING"]
