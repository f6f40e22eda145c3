from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Stage


def test_backup_and_restore_replace_only_on_request(cli: Cli, stage: Stage):
    stage.ended()
    assert cli("backup", "saved").code == 0
    refused = cli("backup", "saved")
    assert (refused.code, "backup --force" in refused.err) == (2, True)
    assert cli("backup", "--force", "saved").code == 0
    refused = cli("restore", "saved")
    assert (refused.code, "restore --yes" in refused.err) == (5, True)
    assert cli("restore", "--yes", "saved").code == 0


def test_backup_needs_a_database(cli: Cli):
    assert cli("backup", "saved").code == 3
