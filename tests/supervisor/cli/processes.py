"""Commands and tasks of a supervisor in separate processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from backburner.ipc.api.control import program
from tests.helpers.commands import backburner_here
from tests.helpers.wait import eventually

#: Writes a line, and another one once a file exists.
FIRST_AND_LAST = """
import os, select
print("first", flush=True)
while not os.path.exists({flag!r}):
    select.select([], [], [], 0.01)
print("last")
"""


def stdout_of(home: Path, *words: str, stdin: str | None = None) -> str:
    """Run a command that must succeed in this process, and return its output."""
    done = backburner_here(home, *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def show(home: Path, id: str) -> dict:
    """Return a task as JSON."""
    return dict(json.loads(stdout_of(home, "show", "--json", id)))


def launch(home: Path, *words: str) -> str:
    """Launch a task and return its ID."""
    return stdout_of(home, "launch", *words).strip()


def launch_running(home: Path, *words: str) -> str:
    """Launch a task that runs until it is ended, wait until it runs, and return its ID."""
    id = launch(home, *words, "--", sys.executable, "-c", "import signal; signal.pause()")
    eventually(lambda: show(home, id)["pid"])
    return id


def lives(pid: int) -> bool:
    """Return True if a process exists and is no zombie: a container without an init keeps zombies."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _heed_signals() -> None:
    """Restore the default actions: a shell starts a command in the background with SIGINT and SIGQUIT ignored."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def start(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command while the test does something else, and kill it in the end."""
    command = program("--home", str(home), *words)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_signals
    ) as process:
        try:
            yield process
        finally:
            process.kill()
