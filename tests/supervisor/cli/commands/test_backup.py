from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_backup_needs_force_and_restore_needs_yes_to_replace_files(cli: Cli, tasks: Tasks):
    tasks.ended()
    assert cli("backup", "saved").code == 0
    refused = cli("backup", "saved")
    assert (refused.code, "backup --force" in refused.err) == (2, True)
    assert cli("backup", "--force", "saved").code == 0
    refused = cli("restore", "saved")
    assert (refused.code, "restore --yes" in refused.err) == (5, True)
    assert cli("restore", "--yes", "saved").code == 0


def test_backup_needs_a_database(cli: Cli):
    assert cli("backup", "saved").code == 3
