from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_progress_takes_an_id_and_one_text(cli: Cli, tasks: Tasks):
    id = tasks.running()
    assert cli("progress", id, "3 of 12").code == 0
    assert tasks.get(id).progress == "3 of 12"
    assert cli("progress", id, "3", "of", "12").code == 2
    assert cli("progress").code == 2


def test_progress_with_a_blank_may_begin_with_a_dash(cli: Cli, tasks: Tasks):
    id = tasks.running()
    assert cli("progress", id, "- 3 of 12").code == 0
    assert tasks.get(id).progress == "- 3 of 12"
