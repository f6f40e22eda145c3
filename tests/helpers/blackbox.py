"""A state directory and the processes that use it, observed from outside.

Neither this module nor what it is made of (`processes`, `rpc`, `journals`, `wait`) imports backburner: the code that
is checked and the code that checks it have nothing in common.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from tests.helpers.processes import HOME_MARK, Process, kill_all, processes_of
from tests.helpers.rpc import RpcClient

ROOT = Path(__file__).resolve().parents[2]

#: Variables of a developer's shell, or of the agent in it, that would change the behaviour under test.
FOREIGN = ("BACKBURNER_*", "CLAUDE*", "XDG_*", "GIT_*", "NO_COLOR", "FORCE_COLOR", "NOTIFY_SOCKET")

_USER_CONFIGURATION = "user-configuration"
_BOOTSTRAP = "import sys; from backburner.supervisor.cli import main; sys.exit(main())"


def is_foreign(name: str) -> bool:
    """Return True if a test must not inherit this environment variable."""
    return any(fnmatchcase(name, pattern) for pattern in FOREIGN)


class CommandFailed(Exception):
    """A command exited with another code than 0."""

    def __init__(self, words: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(f"backburner {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")


class Place:
    """A state directory in its own project folder, and the source tree of backburner that is used on it."""

    def __init__(self, project: Path, tree: Path = ROOT) -> None:
        """Use an existing folder."""
        self.project = project
        self.home = project / ".backburner"
        self.tree = tree

    @classmethod
    def create(cls, name: str, tree: Path = ROOT) -> Self:
        """Create the folder; its path is short because the path of a Unix socket is limited to about 100 bytes.

        The user's configuration has `autostart = false`, so that no launch starts a supervisor.
        """
        place = cls(Path(tempfile.mkdtemp(prefix=f"bb-{name}-", dir="/tmp")).resolve(), tree)
        settings = place.project / _USER_CONFIGURATION / "backburner" / "config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("autostart = false\n")
        return place

    def snapshot(self) -> None:
        """Use a copy of the source tree from now on, which edits cannot change meanwhile."""
        tree = self.project / "tree"
        for folder in ("ipc", "supervisor", "backburner"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.tree / folder, tree / folder, symlinks=True, ignore=ignore)
        self.tree = tree

    def patch(self, file: str, old: str, new: str) -> None:
        """Replace a fragment of the snapshot. Raises StalePatch unless it occurs exactly once."""
        assert self.tree != ROOT, "only a snapshot may be patched"
        apply_patch(self.tree, file, old, new)

    def configure(self, text: str) -> None:
        """Write the configuration of the state directory."""
        self.home.mkdir(0o700, exist_ok=True)
        path = self.home / "config.toml"
        path.write_text(text)
        path.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment with the state directory and the source tree, without the developer's settings."""
        kept = {
            name: value for name, value in os.environ.items() if not (is_foreign(name) or name.startswith("PYTHON"))
        }
        return kept | {
            HOME_MARK: str(self.home),
            "XDG_CONFIG_HOME": str(self.project / _USER_CONFIGURATION),
            "XDG_STATE_HOME": str(self.project / "xdg-state"),
            "PYTHONPATH": str(self.tree),
        }

    def command(self, *words: str) -> list[str]:
        """Return the argv of a backburner command."""
        return [sys.executable, "-P", "-c", _BOOTSTRAP, *words]

    def start(self, argv: list[str], log: Any = subprocess.DEVNULL, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program in the project folder; `log` receives its output."""
        return subprocess.Popen(
            argv,
            env=self.environment | environment,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def start_module(self, module: str, *words: str, log: Any = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a module of this repository that uses the state directory and, for backburner, the source tree."""
        path = os.pathsep.join([str(self.tree), str(ROOT)])
        return self.start([sys.executable, "-P", "-m", module, *words], log, PYTHONPATH=path)

    def run(self, *words: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command. Raises TimeoutExpired."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            env=self.environment,
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def check(self, *words: str, timeout: float = 60) -> str:
        """Run a command that must succeed, and return its output. Raises CommandFailed, TimeoutExpired."""
        done = self.run(*words, timeout=timeout)
        if done.returncode:
            raise CommandFailed(words, done)
        return done.stdout

    def connect(self, timeout: float = 10.0) -> RpcClient:
        """Connect to the socket. Raises OSError."""
        return RpcClient(self.home / "bus.sock", timeout)

    @property
    def log(self) -> str:
        """Return the log of all roles."""
        path = self.home / "supervisor.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query; the database is opened read-only."""
        path = f"file:{self.home}/backburner.db?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query, values).fetchall()

    def processes(self) -> list[Process]:
        """Return all living processes that use this state directory."""
        return processes_of(self.home)

    def role(self, name: str) -> list[Process]:
        """Return the living processes of a role, for example `worker`."""
        return [one for one in self.processes() if one.role == name]

    def kill_all(self) -> None:
        """Kill every process that uses this state directory."""
        kill_all(self.processes)

    def remove(self) -> None:
        """Kill every process, and delete the folder."""
        self.kill_all()
        shutil.rmtree(self.project, ignore_errors=True)


def _is_excluded(name: str) -> bool:
    return is_foreign(name) or name.startswith("PYTHON")


class StalePatch(Exception):
    """The fragment that a patch replaces is not there exactly once."""


def apply_patch(tree: Path, file: str, old: str, new: str) -> None:
    """Replace a fragment of a source file. Raises StalePatch unless it occurs exactly once."""
    path = tree / file
    text = path.read_text() if path.exists() else ""
    if (count := text.count(old)) != 1:
        raise StalePatch(f"{file} has {old.strip()!r} {count} times, not once")
    path.write_text(text.replace(old, new))
