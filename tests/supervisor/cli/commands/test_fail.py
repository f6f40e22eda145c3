from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_fail_stores_the_error(cli: Cli, tasks: Tasks):
    id = tasks.running()
    assert cli("fail", id, "--error", "broken", "--json").json["error"] == "broken"
    assert tasks.get(id).error_kind == "failed"
    assert cli("fail", id).code == 2
