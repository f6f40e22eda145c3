from __future__ import annotations

import json

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Said, Stage


def events(said: Said) -> list[dict]:
    """What was told, an object a line."""
    assert said.code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def test_until_now_tells_what_has_happened_and_ends_without_a_supervisor(cli: Cli, stage: Stage):
    id = stage.ended(parent_session_id="me")
    stage.ended(parent_session_id="you")
    found = events(cli("listen", "--parent", "me", "--until-now"))
    assert [event["type"] for event in found] == ["background_task_started", "background_task_completed"]
    assert {event["taskId"] for event in found} == {id}


def test_only_what_was_acknowledged_is_not_told_again(cli: Cli, stage: Stage):
    stage.ended(parent_session_id="me")
    words = ("listen", "--parent", "me", "--until-now")
    assert len(events(cli(*words))) == 2
    assert len(events(cli(*words, "--ack"))) == 2
    assert events(cli(*words)) == []
    assert len(events(cli(*words, "--consumer", "other"))) == 2
    assert [event["seq"] for event in events(cli(*words, "--after", "1"))] == [2]


def test_only_the_types_that_are_asked_for_are_told(cli: Cli, stage: Stage):
    stage.ended(TaskStatus.ERROR, parent_session_id="me")
    found = events(cli("listen", "--parent", "me", "--until-now", "--type", "background_task_completed"))
    assert [event["errorKind"] for event in found] == ["failed"]


def test_everyone_is_heard_from_now_on_unless_a_number_is_given(cli: Cli, stage: Stage):
    stage.ended()
    assert events(cli("listen", "--parent", "*", "--until-now")) == []
    assert len(events(cli("listen", "--parent", "*", "--until-now", "--after", "0"))) == 2


def test_the_parent_is_the_session_around_if_none_is_named(cli: Cli, stage: Stage, monkeypatch: pytest.MonkeyPatch):
    stage.ended(parent_session_id="me")
    assert cli("listen", "--until-now").code == 2
    monkeypatch.setenv("BACKBURNER_PARENT", "me")
    assert len(events(cli("listen", "--until-now"))) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--parent", "*", "--ack"),
        ("--parent", "me", "--type", "nothing"),
        ("--parent", "me", "--after", "-1"),
        ("--parent", ""),
    ],
)
def test_what_cannot_be_listened_to_is_a_usage_error(cli: Cli, words: tuple[str, ...]):
    assert cli("listen", "--until-now", *words).code == 2


def test_a_log_that_was_cut_says_where_it_begins(cli: Cli, stage: Stage):
    stage.ended(parent_session_id="me")
    with stage.queue.database.write() as transaction:
        transaction.run("record_truncation", {"parent": "me", "seq": 1})
    found = events(cli("listen", "--parent", "me", "--until-now", "--after", "0"))
    assert found[0]["type"] == "log_truncated"
    assert [event["seq"] for event in found] == [1, 2]
    assert found[0]["firstSeq"] == 2


def test_a_number_of_another_log_is_told_as_lost_and_nothing_is_missed(cli: Cli, stage: Stage):
    stage.ended(parent_session_id="me")
    found = events(cli("listen", "--parent", "me", "--until-now", "--after", "1000"))
    assert [event["type"] for event in found] == [
        "log_truncated",
        "background_task_started",
        "background_task_completed",
    ]
    assert found[0]["firstSeq"] == 1


def test_flushing_needs_a_supervisor(cli: Cli):
    said = cli("flush")
    assert said.code == 4
    assert "backburner up --detach" in said.err
