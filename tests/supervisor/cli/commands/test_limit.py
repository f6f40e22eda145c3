from __future__ import annotations

import pytest

from tests.supervisor.cli.conftest import Cli, Tasks


def test_limit_is_set_lifted_and_reset(cli: Cli):
    assert cli("limit", "opus", "7", "--json").json["limit"] == 7
    assert cli("limit", "opus", "unlimited", "--json").json["limit"] == 0
    assert "unlimited" in cli("limit", "opus", "0").out
    assert cli("limit", "opus", "default", "--json").json["limit"] == 2


def test_pattern_is_one_limit_for_all_matching_keys(cli: Cli, tasks: Tasks):
    cli("limit", "big/*", "1")
    for key in ("big/a", "big/b"):
        cli("launch", "--key", key, "--", "true")
    found = next(key for key in cli("status", "--json").json["keys"] if key["key"] == "big/*")
    assert (found["limit"], found["pending"]) == (1, 2)


@pytest.mark.parametrize("most", ["-1", "many", "1.5", "9999999", ""])
def test_invalid_limit_is_refused(cli: Cli, most: str):
    assert cli("limit", "opus", "--", most).code == 2
