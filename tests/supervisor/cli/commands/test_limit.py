from __future__ import annotations

from pathlib import Path

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


def test_limit_without_a_number_prints_the_limit_in_force(cli: Cli, home: Path):
    assert cli("limit", "opus").out == "opus: at most 2 at once; 0 running, 0 pending\n"
    assert not (home / "backburner.db").exists()
    cli("limit", "opus", "7")
    assert cli("limit", "opus").out == "opus: at most 7 at once; 0 running, 0 pending\n"
    assert cli("limit", "opus", "0").out == "opus: unlimited (0 means no limit); 0 running, 0 pending\n"


@pytest.mark.parametrize("number", ["-1", "-1.5"])
def test_negative_limit_is_no_option(cli: Cli, number: str):
    result = cli("limit", "opus", number)
    assert result.code == 2
    assert "the limit is 0 or more" in result.err
