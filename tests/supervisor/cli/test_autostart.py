"""Supervisors that `launch`, `run` and `retry` start, by real processes. The tests' own files turn that off."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from backburner.ipc.machine.lock import holder
from tests.helpers.commands import backburner, backburner_here
from tests.helpers.processes import kill_processes_of
from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, launch_running, lives, show, stdout_of
from tests.supervisor.cli.terminal import Terminal

#: How long a task that is not started is observed, in seconds.
MOMENT = "0.2"


@pytest.fixture
def autostarting(home: Path, no_strays: None) -> Iterator[Path]:
    """A home in which commands start a supervisor."""
    (home / "config.toml").write_text("autostart = true\n")
    yield home
    backburner_here(home, "down", "--now")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """Another home in which commands start a supervisor, for tasks to work in."""
    folder = tmp_path / "other"
    folder.mkdir(0o700)
    (folder / "config.toml").write_text("autostart = true\n")
    yield folder
    backburner_here(folder, "down", "--now")
    kill_processes_of(folder)


def supervisor_of(home: Path) -> int | None:
    return holder(home / "supervisor.lock")


def in_task(home: Path, other: Path, *words: str) -> str:
    """Run a command on the other home in a task, and return the task's ID when it has ended."""
    command = shlex.join(program("--home", str(other), *words))
    id = launch(home, "--", "sh", "-c", command)
    backburner_here(home, "wait", id)
    return id


def test_launch_starts_a_supervisor_and_reports_it_once(autostarting: Path):
    first = backburner(autostarting, "launch", "--", "true")
    assert (first.returncode, first.stdout.count("\n")) == (0, 1)
    assert first.stderr == f"backburner: started a supervisor for {autostarting}; to stop it: backburner down\n"
    second = backburner(autostarting, "launch", "--", "true")
    assert (second.returncode, second.stderr) == (0, "")
    stdout_of(autostarting, "wait", first.stdout.strip(), second.stdout.strip())


@pytest.mark.usefixtures("no_user_settings")
def test_autostart_is_on_by_default(home: Path, no_strays: None):
    assert "started a supervisor" in backburner(home, "launch", "--", "true").stderr
    stdout_of(home, "down")


def test_run_starts_a_supervisor_and_prints_the_output(autostarting: Path):
    done = backburner(autostarting, "run", "--", "echo", "hi")
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert done.stderr.count("\n") == 1


def test_retry_starts_a_supervisor(autostarting: Path):
    id = launch(autostarting, "--", "false")
    backburner_here(autostarting, "wait", id)
    stdout_of(autostarting, "down")
    done = backburner(autostarting, "retry", id)
    assert (done.returncode, done.stdout) == (0, f"{id[3:11]} pending\n")
    assert "started a supervisor" in done.stderr
    backburner_here(autostarting, "wait", id)
    assert show(autostarting, id)["attempt"] == 2


def test_refused_retry_starts_no_supervisor(autostarting: Path):
    id = launch(autostarting, "--no-up", "--", "true")
    assert backburner_here(autostarting, "retry", id).returncode == 5
    assert supervisor_of(autostarting) is None


def test_launch_on_a_terminal_explains_only_what_is_new(autostarting: Path):
    with Terminal("--home", str(autostarting), "launch", "--", "true") as terminal:
        assert terminal.end() == 0
    assert terminal.plain.count("supervisor") == 1


@pytest.mark.parametrize("words", [("launch",), ("launch", "--json"), ("run", "--json")])
def test_autostarted_supervisor_runs_the_task(autostarting: Path, words: tuple[str, ...]):
    stdout_of(autostarting, *words, "--", "true")
    stdout_of(autostarting, "wait")
    assert show(autostarting, "-")["status"] == "completed"


def test_no_up_leaves_the_task_to_wait(autostarting: Path):
    done = backburner(autostarting, "launch", "--no-up", "--", "true")
    assert (done.returncode, done.stderr) == (0, "")
    assert backburner_here(autostarting, "wait", "--timeout", MOMENT).returncode == 124
    assert supervisor_of(autostarting) is None
    assert show(autostarting, "-")["waitingFor"] == "supervisor"


def test_without_autostart_only_up_starts_a_supervisor(home: Path, no_strays: None):
    assert backburner(home, "launch", "--", "true").stderr == ""
    assert supervisor_of(home) is None
    assert "started a supervisor" in backburner(home, "launch", "--up", "--", "true").stderr
    assert backburner_here(home, "wait").returncode in (0, 1)
    stdout_of(home, "down")


def test_launch_succeeds_although_no_supervisor_can_be_started(autostarting: Path):
    (autostarting / "supervisor.log").mkdir()
    for words in (("launch",), ("launch", "--up")):
        done = backburner(autostarting, *words, "--", "true")
        assert (done.returncode, done.stdout[:3]) == (0, "bg-")
        assert done.stderr.startswith("backburner: the task waits, since no supervisor could be started")
    assert len(json.loads(stdout_of(autostarting, "list", "--json"))) == 2
    (autostarting / "supervisor.log").rmdir()


def test_invalid_launch_starts_no_supervisor(cli: Cli, autostarting: Path):
    assert cli("launch", "--agent", "no-such-agent", "hello").code == 2
    assert supervisor_of(autostarting) is None


def test_empty_file_of_tasks_starts_no_supervisor(cli: Cli, autostarting: Path, tasks: Tasks):
    assert cli("launch", "--from-file", "-").code == 2
    assert supervisor_of(autostarting) is None


def test_autostart_does_not_apply_inside_a_task(supervised: Path, other: Path):
    id = in_task(supervised, other, "launch", "--", "true")
    assert show(supervised, id)["status"] == "completed"
    assert stdout_of(supervised, "output", "--stderr", id) == (
        f"backburner: the task waits: no supervisor is running for {other}, and none is started inside a task\n"
    )
    assert supervisor_of(other) is None


def test_supervisor_started_by_a_task_outlives_the_task(supervised: Path, other: Path):
    id = in_task(supervised, other, "launch", "--up", "--", "sleep", "600")
    task = show(supervised, id)
    assert (task["status"], task["leftovers"]) == ("completed", 0)
    inner = eventually(lambda: show(other, "-")["pid"])
    stdout_of(supervised, "run", "--", "true")  # the same worker
    stdout_of(supervised, "down", "--now")
    assert supervisor_of(other)
    assert lives(inner)
    stdout_of(other, "cancel", "-")


def test_supervisor_started_by_a_task_outlives_its_cancellation(supervised: Path, other: Path):
    command = shlex.join(program("--home", str(other), "launch", "--up", "--", "sleep", "600"))
    id = launch(supervised, "--", "sh", "-c", f"{command}; sleep 600")
    inner = eventually(lambda: (other / "backburner.db").exists() and supervisor_of(other) and show(other, "-")["pid"])
    assert stdout_of(supervised, "cancel", id) == f"{id[3:11]} cancelled\n"
    assert supervisor_of(other)
    assert lives(inner)
    stdout_of(other, "cancel", "-")


def test_supervisor_started_by_a_task_outlives_the_tasks_worker(supervised: Path, other: Path):
    in_task(supervised, other, "up", "--detach")
    found = json.loads(stdout_of(supervised, "status", "--json"))
    for worker in found["workers"]:
        backburner_here(supervised, "run", "--", "kill", "-KILL", str(worker["pid"]))
    id = launch_running(supervised)  # the fork server has swept its strays before it forks another worker
    assert supervisor_of(other)
    stdout_of(supervised, "cancel", id)
