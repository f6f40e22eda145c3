"""Instances: one per test that kills or configures, one per file for tests that only launch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backburner.ipc.errors import NoSupervisor
from tests.helpers.blackbox import is_foreign
from tests.helpers.instance import Instance
from tests.helpers.processes import fail_if_left, processes_of

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
def shared() -> Iterator[Instance]:
    """Share a home and its supervisor between the tests of a file; each uses other keys and parents."""
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_foreign, list(os.environ)):
            patch.delenv(name)
        project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
        (project / ".backburner").mkdir(0o700)
        patch.setenv("XDG_CONFIG_HOME", str(project / "xdg-config"))
        with Instance(project / ".backburner") as instance:
            yield instance.up(**BRISK, default_concurrency=8)
            _stop(instance)
            fail_if_left(instance.folder)
        shutil.rmtree(project)


def _stop(instance: Instance) -> None:
    """Stop the supervisor. If the test killed it, start another one, which rescues the tasks that are left."""
    for start in (False, True):
        with suppress(NoSupervisor):
            if start and processes_of(instance.folder):
                instance.up(**BRISK)
            instance.down(now=True)
