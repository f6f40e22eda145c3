from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_rm_deletes_ended_tasks_and_refuses_others(cli: Cli, tasks: Tasks):
    done, failed = tasks.ended(), tasks.ended(TaskStatus.ERROR)
    running, pending = tasks.running(), tasks.pending()
    result = cli("rm", done, running, failed, pending)
    assert (result.code, result.out) == (5, "deleted 2 tasks\n")
    assert "has not ended (running); to cancel it: backburner cancel" in result.err
    assert {task["id"] for task in cli("list", "--json").json} == {running, pending}
    assert cli("rm", done).code == 3


def test_rm_ended_deletes_all_ended_tasks(cli: Cli, tasks: Tasks):
    for status in (TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED):
        tasks.ended(status)
    running = tasks.running()
    assert cli("rm", "--ended", "--json").json == {"tasks": 3}
    assert [task["id"] for task in cli("list", "--json").json] == [running]
    assert cli("rm", "--ended").out == "deleted 0 tasks\n"


def test_misspelt_key_vanishes_with_its_last_task_and_its_limit(cli: Cli, tasks: Tasks):
    id = tasks.pending(concurrency_key="tipo")
    cli("limit", "tpo", "3")
    assert {"tipo", "tpo"} <= {key["key"] for key in cli("status", "--json").json["keys"]}
    cli("cancel", id)
    cli("rm", id)
    cli("limit", "tpo", "default")
    assert not {"tipo", "tpo"} & {key["key"] for key in cli("status", "--json").json["keys"]}


def test_rm_needs_ids_or_ended_and_not_both(cli: Cli, tasks: Tasks):
    assert cli("rm").code == 2
    assert cli("rm", "--ended", tasks.ended()).code == 2
    assert len(cli("list", "--json").json) == 1
