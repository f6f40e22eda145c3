"""The command line as users run it, in a process or faster in this one."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from backburner.ipc.api.control import program
from backburner.supervisor.cli import main


def backburner(home: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a home, for at most 50 seconds."""
    return subprocess.run(
        program("--home", str(home), *words), input=stdin, capture_output=True, text=True, timeout=50, check=False
    )


def backburner_here(home: Path, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command on a home in this process, which takes a tenth of the time.

    Only for commands whose own process does not matter to the test.
    """
    arguments = ["--home", str(home), *words]
    stdout, stderr = _stream(), _stream()
    with _standard_input(stdin or ""), redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, _text(stdout), _text(stderr))


def _stream(data: str = "") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data.encode()), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO), "made by _stream"
    return buffer.getvalue().decode()


@contextmanager
def _standard_input(text: str) -> Iterator[None]:
    kept = sys.stdin, sys.argv
    sys.stdin, sys.argv = _stream(text), ["-c"]  # as in the process of `program`
    try:
        yield
    finally:
        sys.stdin, sys.argv = kept
