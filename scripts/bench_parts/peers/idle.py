"""Latencies of other systems when idle: from the sending of a task to its start, one after another."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from scripts.bench_parts.harness import Figures
from scripts.bench_parts.peers.contestant import Peer
from scripts.bench_parts.peers.spooler import Spooler
from scripts.bench_parts.timing import GAP, PROGRAM, Fifo, percentiles

#: The first samples of a round do not count, because the processes were stopped before it.
FIRST = 3


class IdleSpooler(Spooler):
    """From the start of its client, which sends the command, to the command's first instruction."""

    def open(self) -> None:
        """Start its server. Raises Absent."""
        super().open()
        assert self._folder is not None, "it was just made"
        self._fifo = Fifo(Path(self._folder.name))

    def round(self, number: int) -> Figures:
        """Send tasks one after another."""
        return percentiles("start", [self._one() for _ in range(self._count)])

    def _one(self) -> float:
        time.sleep(GAP)
        with self._fifo as fifo:
            began = time.monotonic()
            self._put(*PROGRAM, str(fifo.path))
            started = fifo.wait()
            fifo.wait()
        return started - began


class IdlePeer(Peer):
    """From the sending of a call to the call, which starts no program and so favours the system."""

    def round(self, number: int) -> Figures:
        """Send tasks one after another."""
        self._signal(signal.SIGCONT)
        waits = [self._one(f"round-{number}-{place}") for place in range(FIRST + self._count)]
        self._signal(signal.SIGSTOP)
        return percentiles("start", waits[FIRST:])

    def _one(self, parent: str) -> float:
        time.sleep(GAP)
        began, calls = self._calls(parent, 1)
        return calls[0] - began
