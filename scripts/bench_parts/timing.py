"""What single tasks are timed by: a program that tells when it was started and when it ended, and percentiles."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from scripts.bench_parts.harness import Figures

#: Opens a pipe, writes a line as soon as it can, and ends, which closes the pipe.
PROGRAM = ["/bin/sh", "-c", 'exec 9>"$0"; echo >&9']

#: Seconds between two samples: whatever follows the end of a task is over.
GAP = 0.01


class Fifo:
    """Tells when the program had its first instruction, and when it ended."""

    def __init__(self, folder: Path) -> None:
        """Make the pipe."""
        self.path = folder / "told.fifo"
        os.mkfifo(self.path)

    def __enter__(self) -> Fifo:
        """Be there for one sample."""
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave, so that the end of one sample is not taken for that of the next."""
        os.close(self._descriptor)

    def wait(self) -> float:
        """When something was written or, after that, when the program ended. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(60_000):
            raise TimeoutError("the program was not started in a minute")
        at = time.monotonic()
        os.read(self._descriptor, 64)
        return at


def percentiles(name: str, values: Sequence[float]) -> Figures:
    """Of so many seconds, in milliseconds."""
    ms = [1000 * value for value in values]
    return {f"{name} p50, ms": median(ms), f"{name} p99, ms": quantiles(ms, n=100, method="inclusive")[98]}
