"""Stages: one per test for what kills or configures, one per file for what only launches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from backburner.ipc.errors import NoSupervisor
from tests.helpers.stage import Stage
from tests.helpers.strays import described, end, strays
from tests.helpers.wait import eventually

#: Short waits: what ends a tree, what gathers a batch, what keeps a worker.
BRISK = {"kill_grace_s": 1, "notification_batch_window_ms": 50, "retry_base_ms": 1}


@pytest.fixture
def stage(home: Path, no_strays: None) -> Iterator[Stage]:
    """A home of this test's own, in which nothing runs yet; whatever runs at the end is ended."""
    with Stage(home) as stage:
        yield stage
        _strike(stage)


@pytest.fixture
def live(stage: Stage) -> Stage:
    """As `stage`, with a supervisor."""
    return stage.up(**BRISK)


@pytest.fixture(scope="module")
def shared() -> Iterator[Stage]:
    """A home with a supervisor that the tests of a file share: each has keys and parents of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("BACKBURNER_", "XDG_"))]:
            patch.delenv(name)
        project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
        (project / ".backburner").mkdir(0o700)
        patch.setenv("XDG_CONFIG_HOME", str(project / "xdg-config"))
        with Stage(project / ".backburner") as stage:
            yield stage.up(**BRISK, default_concurrency=8)
            _strike(stage)
            _expect_nobody(stage.folder)
        shutil.rmtree(project)


def _strike(stage: Stage) -> None:
    """Take down what a test left up; a supervisor that it killed is started again, to bury what is left."""
    for start in (False, True):
        with suppress(NoSupervisor):
            if start and strays(stage.folder):
                stage.up(**BRISK)
            stage.down(now=True)


def _expect_nobody(folder: Path) -> None:
    try:
        eventually(lambda: not strays(folder), message="the processes of these tests to be gone")
    except AssertionError:
        left = strays(folder)
        report = described(left)
        end(left)
        pytest.fail(f"left behind:\n{report}")
