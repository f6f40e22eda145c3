from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Stage


def test_retry_keeps_the_id_and_needs_a_failed_task(cli: Cli, stage: Stage):
    failed, done = stage.ended(TaskStatus.ERROR), stage.ended()
    result = cli("retry", failed, done)
    assert result.code == 5
    assert result.out == f"{failed[3:11]} pending\n"
    assert stage.task(failed).max_attempts == 2
