from __future__ import annotations

from pathlib import Path

from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from tests.helpers.commands import backburner
from tests.supervisor.cli.processes import launch, stdout_of
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_second_supervisor_in_the_foreground_is_refused(shared_supervised: Path):
    done = backburner(shared_supervised, "up")
    assert done.returncode == 100
    assert str(shared_supervised) in done.stderr


def test_up_detach_succeeds_where_a_supervisor_is_running(shared_supervised: Path):
    before = holder(Home(shared_supervised).lock("supervisor"))
    done = backburner(shared_supervised, "up", "--detach")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"backburner: already up: a supervisor is running for {shared_supervised} (pid {before})\n"
    assert holder(Home(shared_supervised).lock("supervisor")) == before


def test_up_runs_tasks_launched_before(home: Path, no_strays: None):
    id = launch(home, "--", "echo", "hi")
    stdout_of(home, "up", "--detach")
    stdout_of(home, "wait", id)
    assert stdout_of(home, "output", id) == "hi\n"
    stdout_of(home, "down")


def test_up_refuses_an_invalid_configuration(home: Path, no_strays: None):
    (home / "config.toml").write_text("max_workers = \n")
    for words in (("up",), ("up", "--detach")):
        done = backburner(home, *words)
        assert done.returncode == 100, done.stderr
        assert "config.toml:1" in done.stderr
        assert "Traceback" not in done.stderr


def test_up_prints_starts_and_ends_and_ctrl_c_stops_it(home: Path, no_strays: None):
    queued = launch(home, "--", "true")[3:11]
    with Terminal("--home", str(home), "up", columns=100) as terminal:
        terminal.see("Ctrl-C waits for running tasks")
        terminal.see(rf"{queued} completed in [\d.]+ m?s  true")
        failing = launch(home, "-d", "the docs", "--", "sh", "-c", "exit 3")[3:11]
        terminal.see(rf"{failing} started  the docs")
        terminal.see(rf"{failing} failed in .*: exit code 3  the docs")
        terminal.press(CTRL_C)
        assert terminal.end() == 0
    assert holder(Home(home).lock("flusher")) is None
