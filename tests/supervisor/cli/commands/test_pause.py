from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_any_key_can_be_paused_and_resumed(cli: Cli, tasks: Tasks):
    assert cli("pause", "opus").out == "opus: paused, at most 2 at once; 0 running, 0 pending\n"
    id = tasks.pending(concurrency_key="opus")
    assert cli("show", "--json", id).json["waitingFor"] == "paused"
    assert cli("resume", "opus", "--json").json["paused"] is False
