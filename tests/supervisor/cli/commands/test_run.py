from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.ipc.api.control import program
from backburner.supervisor.cli.waiting import absence
from tests.conftest import supervisor
from tests.helpers.commands import backburner
from tests.helpers.wait import eventually
from tests.supervisor.cli.conftest import Cli
from tests.supervisor.cli.processes import FIRST_AND_LAST, launch, lives, show, start, stdout_of
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
    with start(home, "run", "--wait-for-supervisor", "--", "echo", "hi") as run:
        assert run.stderr is not None
        assert "no supervisor is running for" in run.stderr.readline()
        with start(home, "wait", "--wait-for-supervisor") as wait:
            assert wait.stderr is not None
            assert "no supervisor is running for" in wait.stderr.readline()
            stdout_of(home, "up", "--detach")
            assert (run.stdout and run.stdout.read(), run.wait()) == ("hi\n", 0)
            assert wait.wait() == 0
    stdout_of(home, "down")


def piped(home: Path, *words: str) -> subprocess.Popen[str]:
    """Run a command with a pipe as stdin, which stays open."""
    return subprocess.Popen(
        program("--home", str(home), "run", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_pipe_is_streamed_to_the_task_with_its_end(shared_supervised: Path):
    text = "line\n" * 100_000
    assert backburner(shared_supervised, "run", "--", "cat", stdin=text).stdout == text


def test_run_ends_with_its_task_though_the_pipe_stays_open(shared_supervised: Path):
    with piped(shared_supervised, "--", "head", "-1") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("first\nsecond\n")
        process.stdin.flush()
        assert process.wait(20) == 0
        assert process.stdout.read() == "first\n"


def test_every_attempt_reads_the_pipe_from_its_start(shared_supervised: Path, tmp_path: Path):
    command = ("sh", "-c", f"read line; echo $line >> {tmp_path}/lines; test $BACKBURNER_ATTEMPT = 3")
    with piped(shared_supervised, "--retries", "5", "--", *command) as process:
        assert process.stdin is not None
        process.stdin.write("one\ntwo\n")
        process.stdin.flush()
        assert process.wait(20) == 0
    assert (tmp_path / "lines").read_text() == "one\n" * 3


def test_a_task_is_not_retried_if_more_was_read_than_is_kept(home: Path, no_strays: None):
    (home / "config.toml").write_text("output_limit_mb = 1\nretry_base_ms = 1\n")
    with supervisor(home):
        done = backburner(home, "run", "--retries", "3", "--", "sh", "-c", "wc -c; exit 1", stdin="x" * 1_500_000)
        assert (done.returncode, done.stdout) == (1, "1500000\n")
        assert "passed on from a command" in show(home, "-")["error"]


@pytest.mark.parametrize("skipped", ["", "one\n"])
def test_a_file_is_read_from_its_position_and_the_position_stays(shared_supervised: Path, tmp_path: Path, skipped: str):
    (tmp_path / "file").write_text("one\ntwo\n")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(len(skipped))
        command = program("--home", str(shared_supervised), "run", "--", "cat")
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
        assert done.stdout == "one\ntwo\n"[len(skipped) :]
        assert file.tell() == len(skipped)


def test_a_task_of_a_terminal_reads_nothing(shared_supervised: Path):
    with Terminal("--home", str(shared_supervised), "run", "--", "cat") as terminal:
        assert terminal.end() == 0


def test_stdin_that_is_given_takes_the_place_of_the_commands(shared_supervised: Path):
    done = backburner(shared_supervised, "run", "--stdin", "/dev/null", "--", "cat", stdin="not read")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_call_reads_the_pipe(shared_supervised: Path):
    done = backburner(shared_supervised, "run", "--json", "--call", "builtins:input", stdin="hello\n")
    assert json.loads(done.stdout)["result"] == '"hello"'


def test_the_task_of_a_killed_command_fails_if_its_input_had_not_ended(shared_supervised: Path):
    with piped(shared_supervised, "--", "cat") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("half\n")
        process.stdin.flush()
        assert process.stdout.readline() == "half\n"
        process.kill()
    eventually(lambda: show(shared_supervised, "-")["completedAt"])
    assert show(shared_supervised, "-")["errorKind"] == "failed"


def test_a_task_does_not_start_without_the_command_that_has_its_input(home: Path, no_strays: None):
    with piped(home, "--wait-for-supervisor", "--", "touch", str(home / "ran")) as process:
        assert process.stderr is not None
        assert "no supervisor" in process.stderr.readline()
        process.kill()
    with supervisor(home):
        eventually(lambda: show(home, "-")["completedAt"])
    assert show(home, "-")["errorKind"] == "spawn"
    assert not (home / "ran").exists()


def test_no_pipe_and_no_link_is_left_behind(shared_supervised: Path, tmp_path: Path):
    before = set((shared_supervised / "input").iterdir())
    assert backburner(shared_supervised, "run", "--retries", "3", "--", "cat", stdin="x").stdout == "x"
    with (tmp_path / "file").open("w+") as file:
        command = program("--home", str(shared_supervised), "run", "--agent", "nosuch", "x")
        assert subprocess.run(command, stdin=file, capture_output=True, check=False).returncode == 2
    assert set((shared_supervised / "input").iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_cancels_the_task(shared_supervised: Path, number: signal.Signals):
    with start(shared_supervised, "run", "--", "sh", "-c", "echo $$; exec sleep 600") as process:
        assert process.stdout is not None and process.stderr is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        assert not lives(pid)
        assert "was cancelled" in process.stderr.read()


def test_a_signal_that_was_ignored_stays_ignored(shared_supervised: Path, tmp_path: Path):
    script = f"trap '' HUP; exec {shlex.join(program('--home', str(shared_supervised), 'run', '--', 'cat'))}"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("first\n")
        process.stdin.flush()
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.close()
        assert process.wait(20) == 0


def test_keep_lets_the_task_continue(shared_supervised: Path):
    with start(shared_supervised, "run", "--keep", "--", "sh", "-c", "echo $$; exec sleep 600") as process:
        assert process.stdout is not None and process.stderr is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert "backburner output --follow" in process.stderr.read()
    assert lives(pid)
    stdout_of(shared_supervised, "cancel", "-")


def test_a_reader_that_exits_cancels_the_task_silently(shared_supervised: Path):
    with start(shared_supervised, "run", "--", "yes") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(2)
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""
    assert show(shared_supervised, "-")["status"] == "cancelled"


def test_output_that_cannot_be_written_cancels_the_task(shared_supervised: Path):
    with Path("/dev/full").open("wb") as full:
        command = program("--home", str(shared_supervised), "run", "--", "sh", "-c", "echo x; exec sleep 600")
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=30)
    assert done.returncode == 74
    assert "cannot write to stdout: No space left on device" in done.stderr
    assert show(shared_supervised, "-")["status"] == "cancelled"


def test_run_gives_up_without_a_supervisor(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(absence, "PATIENCE", 0.05)
    result = cli("run", "--", "true")
    assert result.code == 4
    assert "no supervisor was started" in result.err
    assert cli("show", "-", "--json").json["status"] == "cancelled"


def test_output_to_a_pipe_that_does_not_block_is_complete(shared_supervised: Path):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as programs on Node.js leave it
    command = program("--home", str(shared_supervised), "run", "--", "head", "-c", "1000000", "/dev/zero")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer) as process, open(reader, "rb") as output:
        os.close(writer)
        assert len(output.read()) == 1_000_000
        assert process.wait(20) == 0


def test_stdin_option_takes_the_pipe_of_another_command(shared_supervised: Path):
    command = shlex.join(program("--home", str(shared_supervised), "run"))
    done = subprocess.run(["bash", "-c", f"{command} --stdin <(echo hello) -- cat"], capture_output=True, text=True)
    assert done.stdout == "hello\n"


def test_a_task_like_one_with_a_file_reads_the_file_again(shared_supervised: Path, tmp_path: Path):
    (tmp_path / "file").write_text("one\n")
    with (tmp_path / "file").open() as file:
        subprocess.run(program("--home", str(shared_supervised), "run", "--", "cat"), stdin=file, check=True)
    links = {path for path in (shared_supervised / "input").iterdir() if path.is_symlink()}
    id = launch(shared_supervised, "--like", "-")
    assert backburner(shared_supervised, "wait", id).returncode == 0
    assert stdout_of(shared_supervised, "output", id) == "one\n"
    assert {path for path in (shared_supervised / "input").iterdir() if path.is_symlink()} == links
