from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_retry_keeps_the_id_and_needs_a_failed_task(cli: Cli, tasks: Tasks):
    failed, done = tasks.ended(TaskStatus.ERROR), tasks.ended()
    result = cli("retry", failed, done)
    assert result.code == 5
    assert result.out == f"{failed[3:11]} pending\n"
    assert tasks.get(failed).max_attempts == 2
