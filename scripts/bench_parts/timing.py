"""Time single tasks with a program that signals its start and end through a pipe, and compute percentiles."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from scripts.bench_parts.harness import Figures

#: Opens the pipe, writes a line, and ends, which closes the pipe.
PROGRAM = ["/bin/sh", "-c", 'exec 9>"$0"; echo >&9']

#: Seconds between two samples, so that the end of a task does not disturb the next one.
GAP = 0.01


class Fifo:
    """The named pipe through which the program signals its start and end."""

    def __init__(self, folder: Path) -> None:
        """Create the pipe."""
        self.path = folder / "marks.fifo"
        os.mkfifo(self.path)

    def __enter__(self) -> Fifo:
        """Open the pipe for one sample."""
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the pipe. A late signal must not count for the next sample."""
        os.close(self._descriptor)

    def wait(self) -> float:
        """Wait for the program's start or, after that, its end; return the time. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(60_000):
            raise TimeoutError("the program did not start within a minute")
        at = time.monotonic()
        os.read(self._descriptor, 64)
        return at


def percentiles(name: str, values: Sequence[float]) -> Figures:
    """Return the percentiles of times in seconds, in milliseconds."""
    ms = [1000 * value for value in values]
    return {f"{name} p50, ms": median(ms), f"{name} p99, ms": quantiles(ms, n=100, method="inclusive")[98]}
