from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_retry_keeps_the_id_and_needs_a_failed_task(cli: Cli, tasks: Tasks):
    failed, done = tasks.ended(TaskStatus.ERROR), tasks.ended()
    result = cli("retry", failed, done)
    assert result.code == 5
    assert result.out == f"{failed[3:11]} pending\n"
    assert tasks.get(failed).max_attempts == 2


def test_tasks_are_retried_after_their_dependencies(cli: Cli, tasks: Tasks):
    first = tasks.ended(TaskStatus.ERROR)
    second = tasks.pending(after=(first,))
    message = f"{second[3:11]} failed again: dependency {first[3:11]} failed"
    assert message in cli("retry", second).err
    assert cli("retry", second, first, "nosuch").out == f"{first[3:11]} pending\n{second[3:11]} pending\n"
    assert tasks.get(second).waiting_for == "dependency"


def test_retry_failed_retries_every_failed_task(cli: Cli, tasks: Tasks):
    failed = [tasks.ended(TaskStatus.ERROR), tasks.ended(TaskStatus.ERROR)]
    others = [tasks.ended(), tasks.ended(TaskStatus.CANCELLED)]
    assert {task["id"] for task in cli("retry", "--failed", "--json").json} == set(failed)
    assert not any(tasks.get(id).status is TaskStatus.PENDING for id in others)
    assert "no task has failed" in cli("retry", "--failed").err
    assert cli("retry", "--failed", others[0]).code == 2
