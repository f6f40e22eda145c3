from __future__ import annotations

import pytest

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_id_may_be_any_unique_prefix(cli: Cli, tasks: Tasks):
    id = tasks.pending()
    shown = cli("list").out.splitlines()[1].split()[0]
    assert shown == id[3:11]
    for given in (shown, id, id[:9], id[3:5], "-"):
        assert cli("show", "--json", given).json["id"] == id


def test_dash_is_the_last_task_launched(cli: Cli, tasks: Tasks):
    tasks.pending()
    last = tasks.pending()
    assert cli("show", "--json", "-").json["id"] == last


def test_ambiguous_id_exits_with_2_and_unknown_id_with_3(cli: Cli, tasks: Tasks):
    for _ in range(17):  # two of them begin with the same digit
        tasks.pending()
    ids = [task["id"] for task in cli("list", "--json").json]
    first = next(id[3] for id in ids if sum(other[3] == id[3] for other in ids) > 1)
    assert cli("show", first).code == 2
    assert cli("show", "zzzz").code == 3
    assert cli("show", "").code == 2


def test_every_id_is_unknown_without_any_task(cli: Cli):
    for words in (
        ("show", "1"),
        ("output", "-"),
        ("cancel", "1"),
        ("retry", "1"),
        ("wait", "1"),
        ("complete", "1"),
    ):
        assert cli(*words).code == 3, words


def test_id_inside_a_task_is_that_task_by_default(cli: Cli, tasks: Tasks, monkeypatch: pytest.MonkeyPatch):
    id = tasks.running()
    assert cli("complete").code == 2
    assert cli("progress", "half").code == 2
    monkeypatch.setenv("BACKBURNER_TASK_ID", id)
    assert cli("progress", "half").code == 0
    assert tasks.get(id).progress == "half"
    assert cli("complete", "--result", "ok").code == 0
    assert tasks.get(id).status is TaskStatus.COMPLETED


def test_error_about_one_task_does_not_stop_the_others(cli: Cli, tasks: Tasks):
    first, last = tasks.pending(), tasks.pending()
    result = cli("cancel", first, "ffffffff", last)
    assert result.code == 3
    assert "ffffffff" in result.err
    assert {tasks.get(id).status for id in (first, last)} == {TaskStatus.CANCELLED}


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_cancel_and_retry_need_an_id(cli: Cli, verb: str):
    assert cli(verb).code == 2
