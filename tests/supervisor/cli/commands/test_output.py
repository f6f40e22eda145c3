from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import FIRST_AND_LAST, launch, start, stdout_of


def test_output_follow_ends_with_the_task(supervised: Path, tmp_path: Path):
    flag = tmp_path / "flag"
    script = FIRST_AND_LAST.format(flag=str(flag))
    id = launch(supervised, "--", sys.executable, "-c", script)
    with start(supervised, "output", "--follow", id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        flag.touch()
        assert process.stdout.read() == "last\n"
        assert process.wait() == 0
    assert stdout_of(supervised, "output", id) == "first\nlast\n"
    assert stdout_of(supervised, "output", "--stderr", id) == ""


def test_output_follow_prints_every_attempt_completely(supervised: Path, tmp_path: Path):
    (supervised / "config.toml").write_text("retry_base_ms = 0\n")
    stdout_of(supervised, "reload")
    size = 300_000
    write = "sys.stdout.write('x' * 300_000 + os.environ['BACKBURNER_ATTEMPT'])"
    last = f"import sys, os; {write}; sys.stdout.flush(); sys.exit(9)"
    wait = f"while [ ! -e {tmp_path}/go$BACKBURNER_ATTEMPT ]; do sleep 0.02; done"
    command = f'echo begin; {wait}; exec {sys.executable} -S -c "{last}"'
    id = launch(supervised, "--retries", "1", "--", "sh", "-c", command)
    with start(supervised, "output", "--follow", id) as process:
        assert process.stdout is not None
        for attempt in "12":
            assert process.stdout.readline() == "begin\n"
            (tmp_path / f"go{attempt}").touch()
            assert process.stdout.read(size + 1) == "x" * size + attempt
        assert process.stdout.read() == ""


def test_output_is_that_of_the_last_attempt(supervised: Path):
    (supervised / "config.toml").write_text("retry_base_ms = 0\n")
    stdout_of(supervised, "reload")
    done = backburner(supervised, "run", "--retries", "2", "--", "sh", "-c", "echo $BACKBURNER_ATTEMPT; exit 9")
    assert done.returncode == 9
    assert done.stdout.endswith("3\n")
    assert stdout_of(supervised, "output", "-") == "3\n"


def test_output_of_a_silent_task_is_empty(cli: Cli, tasks: Tasks):
    id = tasks.ended()
    assert cli("output", id).out == ""
    assert json.loads(cli("output", "--json", id).out) == {"data": "", "offset": 0, "eof": True}
