"""Fixtures of all tests: a clean environment, a home on a short path, and a check for processes that are left."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

from backburner.ipc.model.launch import LAUNCH
from tests.helpers.blackbox import is_foreign
from tests.helpers.commands import backburner_here
from tests.helpers.processes import fail_if_left, kill_processes_of
from tests.helpers.queue_db import QueueDatabase

# A suite that is started in the background ignores Ctrl-C, and its child processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("backburner", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("backburner")


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set each test apart from the developer's home, configuration, state and session, in an empty folder.

    The user's configuration has `autostart = false`: many tests launch without a supervisor on purpose. A test
    of `autostart` sets it in the home's configuration.
    """
    for name in filter(is_foreign, list(os.environ)):
        monkeypatch.delenv(name)
    configuration = tmp_path_factory.mktemp("xdg-config")
    settings = configuration / "backburner" / "config.toml"
    settings.parent.mkdir()
    settings.write_text("autostart = false\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(configuration))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("xdg-state")))
    monkeypatch.chdir(tmp_path)


@contextmanager
def empty_home() -> Iterator[Path]:
    """Create an empty home in a project's folder, and remove it and its processes afterwards.

    Its path is short whatever the temporary folder is, because the path of a Unix socket has at most 104 to 108 bytes.
    """
    project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
    folder = project / ".backburner"
    folder.mkdir(0o700)
    yield folder
    kill_processes_of(folder)
    shutil.rmtree(project)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create an empty home for this test, and name it by BACKBURNER_HOME."""
    with empty_home() as folder:
        monkeypatch.setenv("BACKBURNER_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """Create an empty home for all tests of a file; no process of it may outlive them."""
    with pytest.MonkeyPatch.context() as patch, empty_home() as folder:
        for name in filter(is_foreign, list(os.environ)):
            patch.delenv(name)
        patch.setenv("XDG_CONFIG_HOME", str(folder.parent / "xdg-config"))
        patch.setenv("XDG_STATE_HOME", str(folder.parent / "xdg-state"))
        yield folder
        fail_if_left(folder)


@pytest.fixture
def no_strays(home: Path) -> Iterator[None]:
    """Fail the test if a process of its home outlives it by 10 s. Request it before fixtures that start processes."""
    yield
    fail_if_left(home)


@pytest.fixture
def supervised(home: Path, no_strays: None) -> Iterator[Path]:
    """Start a supervisor for the test's home; stop it, and every task, before `no_strays` looks for processes."""
    with supervisor(home):
        yield home


@pytest.fixture(scope="module")
def shared_supervised(shared_home: Path) -> Iterator[Path]:
    """Start a supervisor for all tests of a file. Each of them leaves it running."""
    with supervisor(shared_home):
        yield shared_home


@contextmanager
def supervisor(home: Path) -> Iterator[None]:
    """Run a supervisor within the block."""
    started = backburner_here(home, "up", "--detach")
    assert started.returncode == 0, started.stderr
    yield
    backburner_here(home, "down", "--now")


@pytest.fixture
def queue_db(home: Path) -> Iterator[QueueDatabase]:
    """Open the queue of the test's home, in which the test launches, claims and settles tasks itself."""
    with QueueDatabase(home) as found:
        yield found


@pytest.fixture
def checked_priorities(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the values of a launch's `priority` that are validated from now on."""
    shape, values = LAUNCH.fields["priority"], list[int]()

    def mismatch(value: int) -> str | None:
        values.append(value)
        return type(shape).mismatch(shape, value)

    monkeypatch.setattr(shape, "mismatch", mismatch)
    return values
