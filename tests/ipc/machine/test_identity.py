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
    """A process that lives until it is killed."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def named(process: subprocess.Popen[bytes]) -> Identity:
    found = Identity.of(process.pid)
    assert found is not None
    return found


def test_zombie_counts_as_dead(sleeper):
    identity = named(sleeper)
    assert identity.alive() is True
    sleeper.kill()
    eventually(lambda: identity.alive() is False)
    assert Identity.of(sleeper.pid) is None


def test_process_that_reuses_a_pid_is_another_one_and_is_not_signalled(sleeper):
    predecessor = replace(named(sleeper), ticks=named(sleeper).ticks - 1)
    assert predecessor.alive() is False
    assert predecessor.open() is None
    assert predecessor.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_process_of_an_earlier_boot_is_dead(sleeper):
    last_boot = replace(named(sleeper), boot="another-boot")
    assert last_boot.alive() is False
    assert last_boot.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_process_in_another_namespace_is_neither_dead_nor_signalled(sleeper):
    elsewhere = replace(named(sleeper), pidns="pid:[1]")
    assert elsewhere.alive() is None
    assert elsewhere.signal(signal.SIGKILL) is False
    assert named(sleeper).alive()


def test_identified_process_is_signalled(sleeper):
    assert named(sleeper).signal(signal.SIGTERM) is True
    assert sleeper.wait(30) == -signal.SIGTERM
