from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_prune_keeps_recent_tasks(cli: Cli, tasks: Tasks):
    tasks.ended()
    assert cli("prune", "--json").json == {"tasks": 0, "events": 0, "files": 0}
    assert len(cli("list", "--json").json) == 1
