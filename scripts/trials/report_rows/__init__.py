"""Small inputs on which programs of this kind fail, one module for each area.

A row is a function that is decorated with `row`. It takes a `Sandbox`, uses backburner in it like a user, and raises
AssertionError if the result is wrong. All rows of a module share a sandbox with a running supervisor. A row that stops
the supervisor, moves the folder or changes the configuration gets its own sandbox with `row(..., own=True)`, and starts
what it needs with `sandbox.up()`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.helpers.blackbox import Place
from tests.helpers.wait import eventually

#: The command that the setup of this checkout installed.
PROGRAM = Path(sys.executable).with_name("backburner")

#: Seconds after which a row gives up waiting for a condition that should hold in a fraction of a second.
PATIENCE = 20.0


class Sandbox(Place):
    """A user with an empty home directory, in a new project folder."""

    @classmethod
    def create(cls, name: str, *more: Any) -> Self:
        """Create the folders."""
        sandbox = super().create(name, *more)
        sandbox.user_settings.unlink()
        sandbox.user.mkdir()
        return sandbox

    @property
    def user(self) -> Path:
        """The user's home directory."""
        return self.project / "user"

    @property
    def user_settings(self) -> Path:
        """The user's own configuration file, which does not exist at first."""
        return Path(self.environment["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of the user's shell."""
        plain = {name: value for name, value in super().environment.items() if name != "PYTHONPATH"}
        return plain | {"HOME": str(self.user), "XDG_STATE_HOME": str(self.user / "state")}

    def command(self, *words: str) -> list[str]:
        """Return the argv of a backburner command, as installed."""
        return [str(PROGRAM), *words]

    def up(self) -> Self:
        """Start a supervisor."""
        self.check("up", "--detach")
        return self

    def shell(self, script: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in the project folder, with `backburner` in its PATH. Raises TimeoutExpired."""
        path = os.pathsep.join([str(PROGRAM.parent), self.environment.get("PATH", os.defpath)])
        return subprocess.run(
            ["/bin/sh", "-c", script],
            env=self.environment | {"PATH": path} | environment,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def launch(self, *words: str) -> str:
        """Launch a task with these arguments, and return its ID."""
        return self.check("launch", *words).strip()

    def task(self, id: str) -> dict[str, Any]:
        """Return a task as JSON."""
        document: dict[str, Any] = json.loads(self.check("show", "--json", id))
        return document

    def ended(self, id: str) -> dict[str, Any]:
        """Return a task as JSON when it has ended. Raises WaitTimeout."""

        def look() -> dict[str, Any] | None:
            task = self.task(id)
            return task if task["completedAt"] else None

        return eventually(look, PATIENCE, f"the end of {id}") or {}


@dataclass(frozen=True)
class Row:
    """An input, and what must come of it."""

    name: str
    promise: str
    check: Callable[[Sandbox], object]
    own: bool


#: All rows by area, in the order of their definition.
ROWS: dict[str, list[Row]] = {}


def row(name: str, promise: str, *, own: bool = False) -> Callable[[Callable[[Sandbox], object]], Row]:
    """Register a function as a row.

    `name` describes the input in a few words, `promise` the right result. `own` gives the row a sandbox that no
    other row uses, without a supervisor.
    """

    def register(check: Callable[[Sandbox], object]) -> Row:
        area = check.__module__.rpartition(".")[2]
        ROWS.setdefault(area, []).append(made := Row(name, promise, check, own))
        return made

    return register
