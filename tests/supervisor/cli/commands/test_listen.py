from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.model.event import TYPES
from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Result, Tasks
from tests.supervisor.cli.processes import launch, start, stdout_of
from tests.supervisor.cli.terminal import Terminal


def events(result: Result) -> list[dict]:
    """Return the events that a command has printed, an object a line."""
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def test_listen_on_a_terminal_prints_sentences(home: Path, tasks: Tasks):
    id = tasks.ended(TaskStatus.ERROR, parent_session_id="me")
    with Terminal("listen", "--parent", "me", "--until-now") as terminal:
        assert terminal.end() == 0
    assert f"{id[3:11]} started\n" in terminal.plain
    assert f"{id[3:11]} error: no\n" in terminal.plain
    with Terminal("listen", "--parent", "me", "--until-now", "--json") as terminal:
        assert terminal.end() == 0
    assert '"background_task_completed"' in terminal.plain


def test_listen_prints_each_event_once_over_a_restart(supervised: Path):
    with start(supervised, "listen", "--parent", "me", "--ack") as process:
        assert process.stdout is not None
        first = launch(supervised, "--parent", "me", "--", "true")
        received = [json.loads(process.stdout.readline()) for _ in range(3)]
        stdout_of(supervised, "down")
        second = launch(supervised, "--parent", "me", "--", "false")
        stdout_of(supervised, "up", "--detach")
        received += [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [event["type"].rpartition("_")[2] for event in received] == ["started", "completed", "batch"] * 2
    assert [event["seq"] for event in received] == sorted({event["seq"] for event in received})
    assert [event["taskId"] for event in received if "taskId" in event] == [first] * 2 + [second] * 2
    assert received[2]["message"] == "1 background task completed successfully."
    assert received[5]["allComplete"] is True


def test_listen_waits_for_a_supervisor_and_reports_it(home: Path, no_strays: None):
    with start(home, "listen", "--parent", "me", "--type", "background_tasks_batch") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert "no supervisor is running for" in process.stderr.readline()
        launch(home, "--parent", "me", "--up", "--", "true")
        assert json.loads(process.stdout.readline())["count"] == 1
    stdout_of(home, "down")


def test_listen_until_now_needs_no_supervisor(cli: Cli, tasks: Tasks):
    id = tasks.ended(parent_session_id="me")
    tasks.ended(parent_session_id="you")
    found = events(cli("listen", "--parent", "me", "--until-now"))
    assert [event["type"] for event in found] == ["background_task_started", "background_task_completed"]
    assert {event["taskId"] for event in found} == {id}


def test_listen_repeats_only_unacknowledged_events(cli: Cli, tasks: Tasks):
    tasks.ended(parent_session_id="me")
    words = ("listen", "--parent", "me", "--until-now")
    assert len(events(cli(*words))) == 2
    assert len(events(cli(*words, "--ack"))) == 2
    assert events(cli(*words)) == []
    assert len(events(cli(*words, "--consumer", "other"))) == 2
    assert [event["seq"] for event in events(cli(*words, "--after", "1"))] == [2]


def test_listen_prints_only_the_given_types(cli: Cli, tasks: Tasks):
    tasks.ended(TaskStatus.ERROR, parent_session_id="me")
    found = events(cli("listen", "--parent", "me", "--until-now", "--type", "background_task_completed"))
    assert [event["errorKind"] for event in found] == ["failed"]


@pytest.mark.parametrize(
    "words",
    [
        ("--parent", "*", "--ack"),
        ("--parent", "me", "--type", "nothing"),
        ("--parent", "me", "--after", "-1"),
        ("--parent", ""),
    ],
)
def test_listen_refuses_invalid_options(cli: Cli, words: tuple[str, ...]):
    assert cli("listen", "--until-now", *words).code == 2


def test_listen_reports_a_truncated_log(cli: Cli, tasks: Tasks):
    tasks.ended(parent_session_id="me")
    tasks.queue.store.maintenance.delete_events([1], {"me": 1}, before=0)
    found = events(cli("listen", "--parent", "me", "--until-now", "--after", "0"))
    assert found[0]["type"] == "log_truncated"
    assert [event["seq"] for event in found] == [1, 2]
    assert found[0]["firstSeq"] == 2


def test_listen_after_a_number_of_another_log_misses_nothing(cli: Cli, tasks: Tasks):
    tasks.ended(parent_session_id="me")
    found = events(cli("listen", "--parent", "me", "--until-now", "--after", "1000"))
    assert [event["type"] for event in found] == [
        "log_truncated",
        "background_task_started",
        "background_task_completed",
    ]
    assert found[0]["firstSeq"] == 1


def test_listen_until_now_prints_the_events_of_all_sessions_from_the_oldest_on(cli: Cli, tasks: Tasks, monkeypatch):
    monkeypatch.delenv("CLAUDE_CODE_SESSION_ID", raising=False)
    monkeypatch.delenv("BACKBURNER_PARENT", raising=False)
    ids = [tasks.ended(parent_session_id=parent) for parent in ("me", None)]
    for arguments in ([], ["--parent", "*"]):
        found = events(cli("listen", "--until-now", *arguments))
        assert [event["taskId"] for event in found if event["type"] == "background_task_completed"] == ids
    last = found[-1]["seq"]
    assert events(cli("listen", "--until-now", "--after", str(last))) == []
    monkeypatch.setenv("BACKBURNER_PARENT", "me")
    assert {event["parentSessionId"] for event in events(cli("listen", "--until-now"))} == {"me"}


def test_listen_to_all_sessions_acknowledges_nothing(cli: Cli, home: Path, monkeypatch):
    monkeypatch.delenv("CLAUDE_CODE_SESSION_ID", raising=False)
    monkeypatch.delenv("BACKBURNER_PARENT", raising=False)
    result = cli("listen", "--until-now", "--ack")
    assert (result.code, "--ack needs one session" in result.err) == (2, True)


def test_help_of_listen_names_every_type(cli: Cli):
    text = " ".join(cli("listen", "--help").out.split())
    assert all(name in text for name in TYPES)
