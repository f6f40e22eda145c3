from __future__ import annotations

from tests.supervisor.cli.conftest import Cli, Tasks


def test_adopt_hands_over_tasks_and_notifications(cli: Cli, tasks: Tasks):
    pending = tasks.pending(parent_session_id="old")
    tasks.ended(parent_session_id="old")
    result = cli("adopt", "--from", "old", "--to", "new")
    assert (result.code, result.out) == (0, "new took over 2 tasks and 1 notification from old\n")
    assert tasks.get(pending).parent_session_id == "new"
    assert cli("adopt", "--from", "old", "--to", "new", "--json").json == {"tasks": 0, "notices": 0}


def test_adopt_needs_both_sessions(cli: Cli):
    assert cli("adopt", "--from", "old").code == 2
    assert cli("adopt", "--from", "same", "--to", "same").code == 2
