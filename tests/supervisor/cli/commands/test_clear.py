from __future__ import annotations

from pathlib import Path

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks


def test_clear_without_yes_changes_nothing(cli: Cli, tasks: Tasks):
    id = tasks.pending()
    result = cli("clear")
    assert result.code == 2
    assert "clear --yes" in result.err
    assert tasks.get(id)


def test_clear_deletes_everything_and_continues_the_numbering(cli: Cli, tasks: Tasks):
    tasks.ended(parent_session_id="me")
    tasks.pending()
    before = cli("status", "--json").json["log"]["lastSeq"]
    assert cli("clear", "--yes", "--json").json["tasks"] == 2
    assert cli("list", "--json").json == []
    tasks.ended(parent_session_id="me")
    assert cli("status", "--json").json["log"]["lastSeq"] > before


@pytest.mark.parametrize("words", [("prune",), ("clear", "--yes")])
def test_prune_and_clear_create_nothing(cli: Cli, home: Path, words: tuple[str, ...]):
    assert cli(*words).code == 0
    assert list(home.iterdir()) == []
