"""The helpers that other tests lean on."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.strays import described, strays
from tests.helpers.wait import eventually

WAITS_FOR_ITS_STDIN = [sys.executable, "-c", "input()"]


def test_eventually_returns_what_the_predicate_gave():
    counter = itertools.count()
    assert eventually(lambda: next(counter) >= 3 and "there") == "there"


def test_eventually_says_what_it_waited_for_and_what_it_saw():
    with pytest.raises(AssertionError, match=r"waited 0\.01 s for the moon; last seen: 0"):
        eventually(lambda: 0, timeout=0.01, message="the moon")


def test_eventually_without_a_message_shows_the_predicate():
    with pytest.raises(AssertionError, match="an_unlikely_name"):
        eventually(lambda an_unlikely_name=0: an_unlikely_name, timeout=0.01)


def test_a_home_is_short_and_named_by_the_environment(home: Path):
    assert len(os.fsencode(home / "bus.sock")) < 60
    assert os.environ["BACKBURNER_HOME"] == str(home)


def test_a_stray_is_found_described_and_forgotten_when_it_ends(home: Path):
    with subprocess.Popen(WAITS_FOR_ITS_STDIN, stdin=subprocess.PIPE) as process:
        assert [stray.pid for stray in strays(home)] == [process.pid]
        assert f"{process.pid} " in described(strays(home))
    assert strays(home) == []


def test_a_process_of_another_home_is_no_stray_of_ours(home: Path):
    elsewhere = os.environ | {"BACKBURNER_HOME": str(home.parent / "other")}
    with subprocess.Popen(WAITS_FOR_ITS_STDIN, stdin=subprocess.PIPE, env=elsewhere):
        assert strays(home) == []


def test_a_test_that_asks_for_it_and_ends_its_processes_passes(no_strays: None):
    subprocess.run(WAITS_FOR_ITS_STDIN, input=b"\n", check=True)
