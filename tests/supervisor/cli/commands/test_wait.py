from __future__ import annotations

import json
import threading
from pathlib import Path

from backburner.ipc.model.task import TaskStatus
from tests.helpers.commands import backburner
from tests.supervisor.cli.conftest import Cli, Tasks
from tests.supervisor.cli.processes import launch, stdout_of
from tests.supervisor.cli.terminal import Terminal

CTRL_C = b"\x03"


def test_wait_on_a_terminal_shows_a_progress_bar(home: Path, tasks: Tasks):
    ids = [tasks.running(), tasks.running()]
    with Terminal("wait", *ids) as terminal:
        terminal.see(r"waiting .*0/2")
        tasks.queue.complete(ids[0])
        terminal.see(r"1/2 .*completed")
        tasks.queue.fail(ids[1], "no")
        assert terminal.end() == 1
    assert terminal.plain.endswith("2 background tasks finished: 1 completed, 1 failed.\n")


def test_interrupted_wait_exits_with_130(home: Path, tasks: Tasks):
    id = tasks.running()
    with Terminal("wait", id) as terminal:
        terminal.see("waiting")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert "Traceback" not in terminal.plain
    assert tasks.get(id).status is TaskStatus.RUNNING


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
