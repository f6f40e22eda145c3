"""The command line as users run it, in a process."""

from __future__ import annotations

import subprocess
from pathlib import Path

from backburner.ipc.api.control import program


def backburner(home: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a home, for at most 50 seconds."""
    return subprocess.run(
        program("--home", str(home), *words), input=stdin, capture_output=True, text=True, timeout=50, check=False
    )
