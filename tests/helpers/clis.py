"""The agents that scripts/agents installed: real ones, at known versions; tests skip those that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: Read when the tests are collected, before a test is set apart from its developer's environment.
FOLDER = Path(os.environ.get("AGENTS_FOLDER") or Path.home() / ".cache" / "backburner-agents") / "bin"


def installed(name: str) -> bool:
    """Whether an agent is there."""
    return (FOLDER / name).exists()


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where an agent is not installed."""
    return pytest.mark.skipif(not installed(name), reason=f"{name} is not installed: run scripts/agents {name}")


def path() -> str:
    """A PATH on which the installed agents come first."""
    return f"{FOLDER}{os.pathsep}{os.environ['PATH']}"
