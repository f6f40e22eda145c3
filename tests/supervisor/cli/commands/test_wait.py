from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.cli.tables import display_width
from backburner.supervisor.cli.waiting import absence
from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, stdout_of
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_wait_on_a_terminal_shows_counts_and_the_elapsed_time(home: Path, tasks: Tasks):
    ids = [tasks.running(), tasks.running(), tasks.pending()]
    with Terminal("wait", *ids) as terminal:
        terminal.see(r"waiting [\d.]+ \w+: 0/3 ended, 2 running, 1 pending")
        tasks.queue.complete(ids[0])
        terminal.see(r"1/3 ended, 1 running, 1 pending.*[0-9a-f]{8} completed")
        tasks.queue.fail(ids[1], "no")
        tasks.queue.cancel(ids[2])
        assert terminal.end() == 1
    assert terminal.plain.endswith("3 background tasks finished: 1 completed, 1 failed, 1 cancelled.\n")


def test_wait_on_a_terminal_shows_one_task_with_an_estimate(home: Path, tasks: Tasks):
    tasks.ended(concurrency_key="opus")
    id = tasks.running(concurrency_key="opus", description="deploy the docs")
    with Terminal("wait", id) as terminal:
        terminal.see(rf"waiting [\d.]+ \w+: {id[3:11]} running, about 1 s left, deploy the docs")
        terminal.see(r"waiting 1 s: ")
        tasks.queue.complete(id)
        assert terminal.end() == 0
    assert terminal.plain.endswith("1 background task completed successfully.\n")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_line_of_wait_fits_the_terminal(home: Path, tasks: Tasks, columns: int):
    ids = [tasks.running(description="界" * 200), tasks.running(description="x" * 300)]
    for waited in (ids, ids[:1]):
        with Terminal("wait", *waited, columns=columns) as terminal:
            shown = terminal.see(r"waiting [^\r]*")[0]
            assert display_width(shown) < columns


def test_interrupted_wait_prints_the_command_that_continues_it(home: Path, tasks: Tasks):
    ids = [tasks.running(), tasks.running()]
    with Terminal("wait", *ids, "--fail-fast") as terminal:
        terminal.see("waiting")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.plain
    assert f"backburner wait {ids[0][3:11]} {ids[1][3:11]} --fail-fast\n" in terminal.plain
    assert tasks.get(ids[0]).status is TaskStatus.RUNNING


def test_fail_fast_returns_with_the_first_failure(cli: Cli, tasks: Tasks):
    ids = [tasks.running(), tasks.ended(), tasks.ended(TaskStatus.ERROR)]
    result = cli("wait", *ids, "--fail-fast")
    assert (result.code, result.out) == (1, "2 background tasks finished: 1 completed, 1 failed.\n")
    assert "1 of 3 tasks unfinished" in result.err


def test_fail_fast_waits_while_tasks_complete(cli: Cli, tasks: Tasks):
    ids = [tasks.running(), tasks.ended()]
    assert cli("wait", *ids, "--fail-fast", "--timeout", "50ms").code == 124


def test_wait_lists_failed_tasks_with_their_causes_and_last_lines(shared_supervised: Path):
    command = ("sh", "-c", "echo out; printf '50%%\\r\\033[31mno rule to make docs\\033[0m\\n\\n' >&2; exit 2")
    ids = [launch(shared_supervised, "-d", "the docs", "--", *command)]
    ids += [launch(shared_supervised, "--", "true"), launch(shared_supervised, "--", "no-such-program")]
    done = backburner(shared_supervised, "wait", *ids)
    assert (done.returncode, done.stdout) == (1, "3 background tasks finished: 1 completed, 2 failed.\n")
    assert done.stderr.splitlines() == [
        f"{ids[0][3:11]}  failed: exit code 2  the docs",
        "          no rule to make docs",
        f"{ids[2][3:11]}  failed: command not found  no-such-program",
    ]


def test_wait_lists_twenty_failed_tasks_and_counts_the_others(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(TaskStatus.ERROR) for _ in range(23)]
    result = cli("wait", *ids)
    assert len(result.err.splitlines()) == 21
    assert "and 3 more tasks: backburner list --status failed" in result.err


def test_wait_gives_up_without_a_supervisor_only_if_a_task_needs_one(
    cli: Cli, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(absence, "PATIENCE", 0.05)
    pending, external = tasks.pending(agent="command", prompt=None, command=("true",)), tasks.pending()
    result = cli("wait", pending, external)
    assert result.code == 4
    assert "backburner up --detach" in result.err
    assert cli("wait", external, "--timeout", "100ms").code == 124
    timer = threading.Timer(0.3, lambda: tasks.queue.cancel(external))
    timer.start()
    assert cli("wait", external).code == 1
    timer.join()


def test_wait_reports_outcomes_of_a_session_and_of_ids(supervised: Path):
    launch(supervised, "--parent", "me", "--", "sleep", "0.2")
    launch(supervised, "--parent", "me", "--", "false")
    done = backburner(supervised, "wait", "--parent", "me")
    assert done.returncode in (0, 1)  # the failed task may have ended before
    ids = [task["id"] for task in json.loads(stdout_of(supervised, "list", "--json"))]
    done = backburner(supervised, "wait", *ids)
    assert (done.returncode, done.stdout) == (1, "2 background tasks finished: 1 completed, 1 failed.\n")


def test_wait_prints_the_sentence_of_a_batch(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(), tasks.ended()]
    result = cli("wait", *ids)
    assert (result.code, result.out) == (0, "2 background tasks completed successfully.\n")


def test_wait_exits_with_1_if_a_task_failed(cli: Cli, tasks: Tasks):
    ids = [tasks.ended(), tasks.ended(TaskStatus.ERROR), tasks.ended(TaskStatus.CANCELLED)]
    result = cli("wait", *ids)
    assert result.code == 1
    assert result.out == "3 background tasks finished: 1 completed, 1 failed, 1 cancelled.\n"


def test_wait_exits_with_124_on_timeout(cli: Cli, tasks: Tasks):
    id = tasks.running()
    result = cli("wait", id, "--timeout", "50ms")
    assert result.code == 124
    assert "timed out after 50 ms: 1 of 1 task unfinished" in result.err
    assert cli("wait", id, "--timeout", "0", "--json").json == {"tasks": [], "timedOut": True}


def test_wait_any_returns_with_the_first_task(cli: Cli, tasks: Tasks):
    open_, over = tasks.running(), tasks.ended()
    result = cli("wait", open_, over, "--any", "--json")
    assert [task["id"] for task in result.json["tasks"]] == [over]


def test_wait_without_ids_waits_for_all_unfinished_tasks(cli: Cli, tasks: Tasks):
    tasks.ended(TaskStatus.ERROR)
    result = cli("wait")
    assert (result.code, result.out) == (0, "")
    assert "no unfinished tasks to wait for" in result.err
    tasks.running()
    assert cli("wait", "--timeout", "0").code == 124


def test_wait_with_parent_waits_for_tasks_of_that_session(cli: Cli, tasks: Tasks):
    tasks.running(parent_session_id="you")
    mine = tasks.running(parent_session_id="me")
    tasks.queue.complete(mine)
    assert cli("wait", "--parent", "me", "--timeout", "0").code == 0
    assert cli("wait", "--parent", "you", "--timeout", "0").code == 124


def test_wait_without_a_supervisor_reports_that_and_still_returns(cli: Cli, tasks: Tasks):
    id = tasks.running()
    timer = threading.Timer(0.1, lambda: tasks.queue.complete(id, "ok"))
    timer.start()
    result = cli("wait", id)
    timer.join()
    assert result.code == 0
    assert "no supervisor is running for" in result.err
    assert "backburner up --detach" in result.err


def test_wait_returns_when_the_task_is_cancelled(cli: Cli, tasks: Tasks):
    id = tasks.pending()
    timer = threading.Timer(0.1, lambda: tasks.queue.cancel(id))
    timer.start()
    result = cli("wait", id)
    timer.join()
    assert result.code == 1
    assert result.out == "1 background task cancelled.\n"
