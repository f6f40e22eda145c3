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
