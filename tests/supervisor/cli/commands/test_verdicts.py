from __future__ import annotations

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Stage


def test_work_done_outside_is_completed_with_a_result(cli: Cli, stage: Stage):
    id = stage.running()
    said = cli("complete", id, "--result", "done")
    assert (said.code, said.out) == (0, f"{id[3:11]} completed\n")
    assert stage.task(id).result == "done"


def test_work_done_outside_is_failed_with_an_error(cli: Cli, stage: Stage):
    id = stage.running()
    assert cli("fail", id, "--error", "broken", "--json").json["error"] == "broken"
    assert stage.task(id).error_kind == "failed"
    assert cli("fail", id).code == 2


def test_within_a_task_its_own_id_need_not_be_given(cli: Cli, stage: Stage, monkeypatch: pytest.MonkeyPatch):
    id = stage.running()
    assert cli("complete").code == 2
    assert cli("progress", "half").code == 2
    monkeypatch.setenv("BACKBURNER_TASK_ID", id)
    assert cli("progress", "half").code == 0
    assert stage.task(id).progress == "half"
    assert cli("complete", "--result", "ok").code == 0
    assert stage.task(id).status is TaskStatus.COMPLETED


def test_progress_takes_an_id_and_one_text(cli: Cli, stage: Stage):
    id = stage.running()
    assert cli("progress", id, "3 of 12").code == 0
    assert stage.task(id).progress == "3 of 12"
    assert cli("progress", id, "3", "of", "12").code == 2
    assert cli("progress").code == 2


@pytest.mark.parametrize("words", [("complete",), ("fail", "--error", "x"), ("progress", "text")])
def test_a_verdict_on_a_task_that_does_not_run_is_not_allowed(cli: Cli, stage: Stage, words: tuple[str, ...]):
    verb, *rest = words
    said = cli(verb, stage.pending(), *rest)
    assert said.code == 5
    assert "is not running (pending)" in said.err


def test_a_retry_keeps_the_id_and_is_refused_unless_the_task_failed(cli: Cli, stage: Stage):
    failed, done = stage.ended(TaskStatus.ERROR), stage.ended()
    said = cli("retry", failed, done)
    assert said.code == 5
    assert said.out == f"{failed[3:11]} pending\n"
    assert stage.task(failed).max_attempts == 2


def test_an_error_about_one_task_does_not_keep_a_verb_from_the_others(cli: Cli, stage: Stage):
    first, last = stage.pending(), stage.pending()
    said = cli("cancel", first, "ffffffff", last)
    assert said.code == 3
    assert "ffffffff" in said.err
    assert {stage.task(id).status for id in (first, last)} == {TaskStatus.CANCELLED}


def test_cancelling_needs_no_supervisor(cli: Cli, stage: Stage):
    pending, outside = stage.pending(), stage.running()
    said = cli("cancel", pending, outside, "--json")
    assert [task["status"] for task in said.json] == ["cancelled", "cancelled"]
    assert cli("cancel", pending).code == 5


def test_all_unfinished_tasks_of_a_parent_are_cancelled(cli: Cli, stage: Stage):
    mine = [stage.pending(parent_session_id="me"), stage.running(parent_session_id="me")]
    other, ended = stage.pending(parent_session_id="you"), stage.ended(parent_session_id="me")
    assert cli("cancel", "--parent", "me").code == 0
    assert {stage.task(id).status for id in mine} == {TaskStatus.CANCELLED}
    assert stage.task(other).status is TaskStatus.PENDING
    assert stage.task(ended).status is TaskStatus.COMPLETED
    assert cli("cancel", "--parent", "me").code == 0


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_a_verb_for_tasks_wants_at_least_one(cli: Cli, verb: str):
    assert cli(verb).code == 2
