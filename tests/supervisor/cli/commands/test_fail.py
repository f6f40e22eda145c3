from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Stage


def test_fail_stores_the_error(cli: Cli, stage: Stage):
    id = stage.running()
    assert cli("fail", id, "--error", "broken", "--json").json["error"] == "broken"
    assert stage.task(id).error_kind == "failed"
    assert cli("fail", id).code == 2
