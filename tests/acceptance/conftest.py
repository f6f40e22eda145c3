"""Instances: one per test that kills or configures, one per file for tests that only launch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backburner.ipc.errors import NoSupervisor
from tests.helpers.instance import Instance
from tests.helpers.processes import processes_of

#: Short times for ending a tree, forming a batch and retrying.
BRISK = {"kill_grace_s": 1, "notification_batch_window_ms": 50, "retry_base_ms": 1}


@pytest.fixture
def instance(home: Path, no_strays: None) -> Iterator[Instance]:
    """Provide a home for this test, in which nothing runs yet; stop everything at the end."""
    with Instance(home) as instance:
        yield instance
        _stop(instance)


@pytest.fixture
def live(instance: Instance) -> Instance:
    """Start a supervisor in `instance`."""
    return instance.up(**BRISK)


@pytest.fixture(scope="module")
def shared(shared_home: Path) -> Iterator[Instance]:
    """Share a home and its supervisor between the tests of a file; each uses other keys and parents."""
    with Instance(shared_home) as instance:
        yield instance.up(**BRISK, default_concurrency=8)
        _stop(instance)


def _stop(instance: Instance) -> None:
    """Stop the supervisor. If the test killed it, start another one, which rescues the tasks that are left."""
    for start in (False, True):
        with suppress(NoSupervisor):
            if start and processes_of(instance.folder):
                instance.up(**BRISK)
            instance.down(now=True)
