from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import FIRST_AND_LAST, launch, start, stdout_of
from tests.supervisor.cli.terminal import Terminal


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


@pytest.fixture
def pair(supervised: Path) -> tuple[str, str]:
    """Return a task that failed with output on both streams, and one that completed with five lines."""
    failed = launch(supervised, "--", "sh", "-c", "echo out; echo err >&2; exit 2")
    done = launch(supervised, "--", "seq", "5")
    backburner(supervised, "wait", failed, done)
    return failed, done


def test_both_streams_are_printed_on_their_own_descriptors(supervised: Path, pair: tuple[str, str]):
    failed, done = pair
    short = failed[3:11]
    for words, out, err in (
        ([failed], "out\n", "err\n"),
        (["--stdout", failed], "out\n", ""),
        (["--stderr", failed], "err\n", ""),
        (["--follow", failed], "out\n", "err\n"),
        (["-n", "2", done], "4\n5\n", ""),
        (["-n", "1", *pair], f"{short} | out\n{done[3:11]} | 5\n", f"{short} | err\n"),
        (["--failed"], "out\n", "err\n"),
        (["--failed", *pair], "out\n", "err\n"),
        (["-f", "-n", "1", *pair], f"{short} | out\n{done[3:11]} | 5\n", f"{short} | err\n"),
    ):
        result = backburner(supervised, "output", *words)
        assert (sorted(result.stdout.splitlines()), result.stderr) == (sorted(out.splitlines()), err), words


def test_streams_are_separated_on_a_terminal(supervised: Path, pair: tuple[str, str]):
    with Terminal("--home", str(supervised), "output", pair[0]) as terminal:
        terminal.see(r"out\nstderr:\nerr\n")


def test_failed_task_without_stdout_is_hinted_at(supervised: Path):
    id = launch(supervised, "--", "sh", "-c", "echo no rule >&2; exit 2")
    backburner(supervised, "wait", id)
    assert backburner(supervised, "output", id).stderr == "no rule\n"
    hint = backburner(supervised, "output", "--stdout", id)
    assert (hint.returncode, hint.stdout) == (0, "")
    assert f"backburner output --stderr {id[3:11]}" in hint.stderr


def test_follower_notices_that_the_task_has_cut_its_output(supervised: Path, tmp_path: Path):
    wait = f"until test -e {tmp_path}/go$n; do sleep 0.02; done"
    id = launch(supervised, "--", "sh", "-c", f"echo one; n=1; {wait}; echo TWO > /dev/stdout; n=2; {wait}; echo three")
    with start(supervised, "output", "--follow", id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        (tmp_path / "go1").touch()
        assert process.stdout.readline() == "TWO\n"
        (tmp_path / "go2").touch()
        assert process.stdout.read() == "three\n"


def test_arriving_lines_have_times(supervised: Path, pair: tuple[str, str]):
    lines = stdout_of(supervised, "output", "-f", "-t", pair[1]).splitlines()
    assert [re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\d)", line)[1] for line in lines] == list("12345")


def test_output_of_an_agent_is_readable_on_a_terminal_alone(supervised: Path):
    command = ["sh", "-c", 'echo \'{"say": "hello", "call": "Bash"}\'']
    rules = 'progress = { message = ["jsonl:say"], tool = ["jsonl:call"] }'
    (supervised / "config.toml").write_text(f"[agents.chatty]\ncommand = {json.dumps(command)}\n{rules}\n")
    stdout_of(supervised, "reload")
    id = launch(supervised, "--agent", "chatty", "hi")
    backburner(supervised, "wait", id)
    assert json.loads(stdout_of(supervised, "output", id))["say"] == "hello"
    for words, seen in ((["output", id], r"^hello\n• Bash\n$"), (["output", "--raw", id], r'^\{"say": "hello"')):
        with Terminal("--home", str(supervised), *words) as terminal:
            terminal.see(seen)


@pytest.mark.parametrize(
    "words", [[], ["--stdout", "--stderr", "-"], ["-t", "-"], ["--json", "--follow", "-"], ["--json", "-n", "1", "-"]]
)
def test_options_that_exclude_each_other_are_refused(cli: Cli, tasks: Tasks, words: list[str]):
    tasks.ended()
    assert cli("output", *words).code == 2


def test_output_of_several_tasks_as_json_names_them(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(), tasks.ended()]
    assert [document["id"] for document in cli("output", "--json", *ids).json] == ids


def test_error_about_one_task_does_not_hide_the_others(cli: Cli, tasks: Tasks):
    result = cli("output", "--json", tasks.ended(), "nosuch")
    assert (result.code, len(result.json)) == (3, 1)
