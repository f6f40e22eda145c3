"""The command line as users run it: a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from backburner.ipc.api.control import program


def backburner(home: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command on that home, at most 50 seconds."""
    return subprocess.run(
        program("--home", str(home), *words), input=stdin, capture_output=True, text=True, timeout=50, check=False
    )
