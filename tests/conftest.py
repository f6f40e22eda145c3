"""What every test stands on: an environment of its own, a short home, and a look for what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import hypothesis
import pytest

from tests.helpers.commands import backburner
from tests.helpers.strays import described, end, strays
from tests.helpers.wait import eventually
from tests.helpers.yard import Yard

# A suite that is started in the background has Ctrl-C ignored, and all that it starts would have it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("backburner", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("backburner")

#: What a developer's shell, or the agent in it, may have set, and what would change what is tested.
FOREIGN = (
    "BACKBURNER_*",
    "CLAUDECODE",
    "CLAUDE_CODE_*",
    "XDG_*",
    "GIT_*",
    "NO_COLOR",
    "FORCE_COLOR",
    "NOTIFY_SOCKET",
)


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set each test apart from the developer's home, configuration and session, in an empty folder.

    The user's configuration has `autostart = false`: many tests launch without a supervisor on purpose. A test
    of `autostart` sets it in the home's configuration.
    """
    for name in list(os.environ):
        if any(fnmatchcase(name, pattern) for pattern in FOREIGN):
            monkeypatch.delenv(name)
    configuration = tmp_path_factory.mktemp("xdg-config")
    settings = configuration / "backburner" / "config.toml"
    settings.parent.mkdir()
    settings.write_text("autostart = false\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(configuration))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home of this test's own, named by BACKBURNER_HOME; gone afterwards, with all processes of it.

    Its path is short whatever the temporary folder is: a Unix socket's path has 104 to 108 bytes.
    """
    project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
    folder = project / ".backburner"
    folder.mkdir(0o700)
    monkeypatch.setenv("BACKBURNER_HOME", str(folder))
    yield folder
    end(strays(folder))
    shutil.rmtree(project)


@pytest.fixture
def no_strays(home: Path) -> Iterator[None]:
    """Fail the test if a process of its home outlives it by 10 s. Ask for it before what starts processes."""
    yield
    try:
        eventually(lambda: not strays(home), message="the processes of this test to be gone")
    except AssertionError:
        left = strays(home)
        report = described(left)
        end(left)
        pytest.fail(f"left behind by this test:\n{report}")


@pytest.fixture
def supervised(home: Path, no_strays: None) -> Iterator[Path]:
    """A home with a supervisor that is up; it goes down, with all that still runs, before strays are looked for."""
    started = backburner(home, "up", "--detach")
    assert started.returncode == 0, started.stderr
    yield home
    backburner(home, "down", "--now")


@pytest.fixture
def yard(home: Path) -> Iterator[Yard]:
    """The database of this test's home, with hands to launch, claim and settle; no process of ours."""
    with Yard(home) as found:
        yield found
