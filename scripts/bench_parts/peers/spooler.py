"""task-spooler: a queue of commands; each command is enqueued by a process."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time

from scripts.bench_parts.harness import Contestant, Figures
from scripts.bench_parts.peers.environment import libraries, program


class Spooler(Contestant):
    """`tsp true` again and again with two slots, until the last one has ended."""

    def __init__(self, count: int) -> None:
        super().__init__("task-spooler")
        self._count = count
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def open(self) -> None:
        """Start its server. Raises Absent."""
        self._program = program("tsp")
        self._folder = tempfile.TemporaryDirectory(prefix="bb-tsp-", dir="/tmp")
        # a queue that is longer than its 1000 connections hangs it, so that it keeps few finished ones
        self._environment = {
            **libraries(),
            "TS_SOCKET": f"{self._folder.name}/socket",
            "TMPDIR": self._folder.name,
            "TS_MAXFINISHED": "10",
        }
        self._do("-S", "2")
        self.settings = f"{self._do('-V').splitlines()[0]}, -S 2, -n (no output kept), one process a command"

    def _do(self, *words: str) -> str:
        done = subprocess.run(
            [self._program, *words], env=self._environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    def _put(self, *command: str) -> None:
        words = [self._program, "-n", *command]
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        os.waitpid(os.posix_spawn(self._program, words, self._environment, file_actions=quiet), 0)

    def round(self, number: int) -> Figures:
        """Enqueue all commands, and wait for the last two."""
        began = time.monotonic()
        for _ in range(self._count):
            self._put("true")
        while " queued " in (listed := self._do("-l")) or " running " in listed:
            time.sleep(0.002)
        return {"rate": self._count / (time.monotonic() - began)}

    def close(self) -> None:
        """End the server."""
        if self._folder is not None:
            self._do("-K")
            self._folder.cleanup()
