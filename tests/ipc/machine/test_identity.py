"""A process is its number, the moment it started, the boot and the namespace: a number alone is nobody."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from backburner.ipc.machine.identity import Identity
from tests.helpers.wait import eventually


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when it is told to."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def named(process: subprocess.Popen[bytes]) -> Identity:
    found = Identity.of(process.pid)
    assert found is not None
    return found


def test_a_process_lives_until_it_is_dead_though_nobody_has_taken_note_of_its_death(sleeper):
    identity = named(sleeper)
    assert identity.alive() is True
    sleeper.kill()
    eventually(lambda: identity.alive() is False)
    assert Identity.of(sleeper.pid) is None


def test_whoever_has_a_dead_ones_number_is_another_one_and_is_not_signalled(sleeper):
    predecessor = replace(named(sleeper), ticks=named(sleeper).ticks - 1)
    assert predecessor.alive() is False
    assert predecessor.open() is None
    assert predecessor.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_nobody_outlives_a_boot_whatever_numbers_there_are_now(sleeper):
    last_boot = replace(named(sleeper), boot="another-boot")
    assert last_boot.alive() is False
    assert last_boot.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_nobody_in_another_namespace_is_taken_for_dead_or_signalled(sleeper):
    elsewhere = replace(named(sleeper), pidns="pid:[1]")
    assert elsewhere.alive() is None
    assert elsewhere.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_the_one_that_is_meant_is_signalled(sleeper):
    assert named(sleeper).signal(signal.SIGTERM) is True
    assert sleeper.wait(30) == -signal.SIGTERM
