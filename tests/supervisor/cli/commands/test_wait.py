from __future__ import annotations

import threading

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Stage


def test_waiting_ends_with_the_sentence_of_a_batch(cli: Cli, stage: Stage):
    ids = [stage.ended(), stage.ended()]
    said = cli("wait", *ids)
    assert (said.code, said.out) == (0, "2 background tasks completed successfully.\n")


def test_waiting_for_what_ended_badly_is_a_failure(cli: Cli, stage: Stage):
    ids = [stage.ended(), stage.ended(TaskStatus.ERROR), stage.ended(TaskStatus.CANCELLED)]
    said = cli("wait", *ids)
    assert said.code == 1
    assert said.out == "3 background tasks finished: 1 completed, 1 failed, 1 cancelled.\n"


def test_waiting_too_long_is_told_apart(cli: Cli, stage: Stage):
    id = stage.running()
    said = cli("wait", id, "--timeout", "50ms")
    assert said.code == 124
    assert "timed out after 50 ms: 1 of 1 task unfinished" in said.err
    assert cli("wait", id, "--timeout", "0", "--json").json == {"tasks": [], "timedOut": True}


def test_waiting_for_any_ends_with_the_first(cli: Cli, stage: Stage):
    open_, over = stage.running(), stage.ended()
    said = cli("wait", open_, over, "--any", "--json")
    assert [task["id"] for task in said.json["tasks"]] == [over]


def test_without_ids_everything_unfinished_is_waited_for(cli: Cli, stage: Stage):
    stage.ended(TaskStatus.ERROR)
    said = cli("wait")
    assert (said.code, said.out) == (0, "")
    assert "no unfinished tasks to wait for" in said.err
    stage.running()
    assert cli("wait", "--timeout", "0").code == 124


def test_a_parent_is_waited_for(cli: Cli, stage: Stage):
    stage.running(parent_session_id="you")
    mine = stage.running(parent_session_id="me")
    stage.queue.complete(mine)
    assert cli("wait", "--parent", "me", "--timeout", "0").code == 0
    assert cli("wait", "--parent", "you", "--timeout", "0").code == 124


def test_without_a_supervisor_one_is_told_so_and_still_learns_of_the_end(cli: Cli, stage: Stage):
    id = stage.running()
    timer = threading.Timer(0.1, lambda: stage.queue.complete(id, "ok"))
    timer.start()
    said = cli("wait", id)
    timer.join()
    assert said.code == 0
    assert "no supervisor is running for" in said.err
    assert "backburner up --detach" in said.err


def test_a_task_that_is_cancelled_meanwhile_ends_the_wait(cli: Cli, stage: Stage):
    id = stage.pending()
    timer = threading.Timer(0.1, lambda: stage.queue.cancel(id))
    timer.start()
    said = cli("wait", id)
    timer.join()
    assert said.code == 1
    assert said.out == "1 background task cancelled.\n"
