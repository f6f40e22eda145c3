from __future__ import annotations

from backburner.ipc.model.task import TaskStatus
from tests.supervisor.cli.conftest import Cli, Tasks


def test_show_prints_the_fields_of_a_task(cli: Cli, tasks: Tasks):
    id = tasks.ended(TaskStatus.ERROR, description="two\nlines", metadata={"a": 1})
    out = cli("show", id).out
    assert f"id               {id}\n" in out
    assert "error            no\n" in out
    assert 'metadata         {"a": 1}\n' in out
    assert cli("show", "--json", id).json["prompt"] == "look after it"
