"""Commands in the foreground: what they read, what they wait for, and what ends them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.trials.report_rows import PATIENCE, Sandbox, row
from tests.helpers.wait import eventually


@contextmanager
def _command(sandbox: Sandbox, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command with pipes for its standard streams, and kill it in the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        sandbox.command(*words),
        env=sandbox.environment,
        cwd=sandbox.project,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _last_status(sandbox: Sandbox) -> str:
    return str(sandbox.task("-")["status"])


@row("echo hello | backburner run -- cat", "the task reads the pipe")
def _(sandbox: Sandbox) -> None:
    assert sandbox.shell("echo hello | backburner run -- cat").stdout == "hello\n"


@row("a pipe that stays open", "the task reads what has come, and run ends with its task")
def _(sandbox: Sandbox) -> None:
    with _command(sandbox, "run", "--", "head", "-1") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("first\nsecond\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == "first\n"


@row("a pipe and --retries", "each attempt reads it from its start")
def _(sandbox: Sandbox) -> None:
    script = "cat >> read; test $BACKBURNER_ATTEMPT = 2"
    done = sandbox.shell(f"echo one | backburner run --retries 2 -- sh -c '{script}'")
    assert done.returncode == 0, done.stderr
    assert (sandbox.project / "read").read_text() == "one\none\n"


@row("a file of which a line was read", "the task reads the rest, and the next program reads the same")
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "lines").write_text("a\nb\nc\n")
    done = sandbox.shell("{ read first; backburner run -- cat; cat; } < lines")
    assert done.stdout == "b\nc\nb\nc\n", done


@row("while read line; do backburner run --stdin /dev/null ...", "the loop sees every line")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("printf '1\\n2\\n' | while read n; do backburner run --stdin /dev/null -- echo $n; done")
    assert done.stdout == "1\n2\n", done


@row("a run with a pipe is killed by SIGKILL", "its task does not complete with a part of its input")
def _(sandbox: Sandbox) -> None:
    with _command(sandbox, "run", "--", "cat") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("half\n")
        process.stdin.flush()
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert sandbox.ended("-")["status"] == "error"


@row("backburner run -- yes | head -1", "the task is cancelled silently, the exit code is 141")
def _(sandbox: Sandbox) -> None:
    with _command(sandbox, "run", "--", "yes") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(2)
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == ""
    assert _last_status(sandbox) == "cancelled"


@row("timeout 1 backburner run ..., a closed terminal", "SIGTERM and SIGHUP cancel the task")
def _(sandbox: Sandbox) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with _command(sandbox, "run", "--", "sh", "-c", "echo on; exec sleep 600") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "on\n"
            process.send_signal(number)
            assert process.wait(PATIENCE) == 128 + number
        assert _last_status(sandbox) == "cancelled"


@row("run --keep and SIGTERM", "the task continues, and the command that follows it is printed")
def _(sandbox: Sandbox) -> None:
    with _command(sandbox, "run", "--keep", "--", "sh", "-c", "echo on; exec sleep 600") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        assert "backburner output --follow" in process.stderr.read()
    assert _last_status(sandbox) == "running"
    sandbox.check("cancel", "-")


@row("run, list and launch > /dev/full, launch >&-", "exit code 74, one sentence; launch prints the ID on stderr")
def _(sandbox: Sandbox) -> None:
    for words in ("run -- echo x", "list", "launch -- true", "--help"):
        done = sandbox.shell(f"backburner {words} > /dev/full")
        assert done.returncode == 74, (words, done)
        assert "cannot write to stdout" in done.stderr, done.stderr
    assert "bg-" in sandbox.shell("backburner launch -- true >&-").stderr


@row("wait for a task that fails", "the task is named with its cause and its last line")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--", "sh", "-c", "echo no rule >&2; exit 2")
    done = sandbox.run("wait", id)
    assert (done.returncode, done.stdout) == (1, "1 background task failed.\n"), done
    assert f"{id[3:11]}  failed: exit code 2" in done.stderr
    assert "no rule" in done.stderr


@row("wait --fail-fast", "it returns with the first failure, while other tasks run")
def _(sandbox: Sandbox) -> None:
    slow, bad = sandbox.launch("-k", "slow", "--", "sleep", "600"), sandbox.launch("--", "false")
    assert sandbox.run("wait", "--fail-fast", slow, bad).returncode == 1
    sandbox.check("cancel", slow)


@row("wait is interrupted", "it prints the command that continues the wait")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--", "sleep", "600")
    with _command(sandbox, "wait", id) as process:
        assert process.stderr is not None
        eventually(lambda: _heeds(process.pid, signal.SIGHUP), PATIENCE, "its handler")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert f"backburner wait {id[3:11]}" in process.stderr.read()
    sandbox.check("cancel", id)


@row(
    "wait and run without a supervisor",
    "the command that starts one is named at once; --timeout ends with 124",
    own=True,
)
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--no-up", "--", "true")
    done = sandbox.run("wait", "--timeout", "200ms", id)
    assert done.returncode == 124, done
    assert "backburner up --detach" in done.stderr


@row("down while a task runs", "it prints which task it waits for, and how to end it", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.configure("shutdown_grace_s = 0.1\n")
    sandbox.up()
    id = sandbox.launch("--", "sleep", "600")
    eventually(lambda: sandbox.task(id)["status"] == "running", PATIENCE, "its start")
    done = sandbox.run("down")
    assert done.returncode == 0, done
    assert id[3:11] in done.stderr and "backburner down --now" in done.stderr, done.stderr
    sandbox.check("cancel", id)


@row("up in the foreground", "each start and end is a line", own=True)
def _(sandbox: Sandbox) -> None:
    with _command(sandbox, "up") as process:
        assert process.stderr is not None
        assert "Ctrl-C" in process.stderr.readline()
        sandbox.check("run", "--", "true")
        while "completed" not in process.stderr.readline():
            assert process.poll() is None
        sandbox.check("down")


def _heeds(pid: int, number: signal.Signals) -> bool:
    """Return True if a process has a handler for a signal."""
    with open(f"/proc/{pid}/status") as file:
        caught = next(line for line in file if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
