from __future__ import annotations

import pytest

from tests.supervisor.cli.conftest import Cli, Stage


def test_a_key_is_paused_and_resumed_whether_it_is_known_or_not(cli: Cli, stage: Stage):
    assert cli("pause", "opus").out == "opus: paused, at most 2 at once; 0 running, 0 pending\n"
    id = stage.pending(concurrency_key="opus")
    assert cli("show", "--json", id).json["waitingFor"] == "paused"
    assert cli("resume", "opus", "--json").json["paused"] is False


def test_a_limit_is_set_lifted_and_given_back(cli: Cli):
    assert cli("limit", "opus", "7", "--json").json["limit"] == 7
    assert cli("limit", "opus", "unlimited", "--json").json["limit"] == 0
    assert "unlimited" in cli("limit", "opus", "0").out
    assert cli("limit", "opus", "default", "--json").json["limit"] == 2


def test_a_pattern_is_one_pool_for_all_keys_that_match(cli: Cli, stage: Stage):
    cli("limit", "big/*", "1")
    for key in ("big/a", "big/b"):
        cli("launch", "--key", key, "--", "true")
    found = next(key for key in cli("status", "--json").json["keys"] if key["key"] == "big/*")
    assert (found["limit"], found["pending"]) == (1, 2)


@pytest.mark.parametrize("most", ["-1", "many", "1.5", "9999999", ""])
def test_what_is_no_limit_is_refused(cli: Cli, most: str):
    assert cli("limit", "opus", "--", most).code == 2


@pytest.mark.parametrize("words", [("pause", ""), ("resume", ""), ("limit", "", "1"), ("pause", "x" * 2000)])
def test_what_is_no_key_is_refused(cli: Cli, words: tuple[str, ...]):
    said = cli(*words)
    assert said.code == 2
    assert "KEY" in said.err
