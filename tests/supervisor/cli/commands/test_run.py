from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import backburner
from tests.supervisor.cli.processes import FIRST_AND_LAST, lives, show, start, stdout_of
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_run_copies_both_streams_and_exits_with_the_commands_code(shared_supervised: Path):
    done = backburner(shared_supervised, "run", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 42"), 42),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_run_exits_with_the_codes_of_a_shell(shared_supervised: Path, command: tuple[str, ...], code: int):
    assert backburner(shared_supervised, "run", "--", *command).returncode == code


def test_run_exits_with_1_after_a_timeout(shared_supervised: Path):
    done = backburner(shared_supervised, "run", "--timeout", "50ms", "--", "sleep", "60")
    assert done.returncode == 1
    assert "timeout" in done.stderr


def test_run_prints_output_while_the_task_runs(shared_supervised: Path, tmp_path: Path):
    flag = tmp_path / "flag"
    script = FIRST_AND_LAST.format(flag=str(flag))
    with start(shared_supervised, "run", "--", sys.executable, "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        flag.touch()
        assert process.stdout.read() == "last\n"
        assert process.wait() == 0


def test_run_prints_large_output_completely(shared_supervised: Path):
    script = "import sys; sys.stdout.write('x' * 3_000_000); sys.stderr.write('y' * 3_000_000)"
    done = backburner(shared_supervised, "run", "--", sys.executable, "-c", script)
    assert (done.stdout, done.stderr) == ("x" * 3_000_000, "y" * 3_000_000)


def test_run_json_prints_the_ended_task(shared_supervised: Path):
    done = backburner(shared_supervised, "run", "--json", "--", "sh", "-c", "echo out; exit 7")
    assert done.returncode == 7
    assert json.loads(done.stdout)["exitCode"] == 7


def test_ctrl_c_cancels_the_task_and_its_process_tree(shared_supervised: Path):
    with Terminal("--home", str(shared_supervised), "run", "--", "sh", "-c", "echo $$; sleep 600 & wait") as terminal:
        pid = int(terminal.see(r"(\d+)\n")[1])
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert not lives(pid)
    assert show(shared_supervised, "-")["status"] == "cancelled"


def test_run_and_wait_wait_for_a_supervisor_and_say_so(home: Path, no_strays: None):
    with start(home, "run", "--", "echo", "hi") as run:
        assert run.stderr is not None
        assert "no supervisor is running for" in run.stderr.readline()
        with start(home, "wait") as wait:
            assert wait.stderr is not None
            assert "no supervisor is running for" in wait.stderr.readline()
            stdout_of(home, "up", "--detach")
            assert (run.stdout and run.stdout.read(), run.wait()) == ("hi\n", 0)
            assert wait.wait() == 0
    stdout_of(home, "down")
