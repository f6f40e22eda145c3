"""`backburner list` and `backburner launch` as whole processes, beside an interpreter that imports click."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

from scripts.bench_parts.harness import Contestant, Figures, Goal, Section, Size
from scripts.bench_parts.ours import BenchHome

PROGRAM = str(Path(sys.executable).with_name("backburner"))


class Command(Contestant):
    """A command that is run again and again."""

    def __init__(self, name: str, count: int, *words: str) -> None:
        super().__init__(name, " ".join(words))
        self._count, self._words = count, words

    def open(self) -> None:
        """Create a home with a few tasks and without a supervisor."""
        self._home = BenchHome.with_settings(durability="normal")
        for _ in range(3):
            self._home.check("launch", "--", "true")
        self._run()

    def round(self, number: int) -> Figures:
        """Return the median."""
        return {"ms": median([self._run() for _ in range(self._count)])}

    def _run(self) -> float:
        unlike = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")  # as pip installs it: found without a path, and compiled
        kept = {name: value for name, value in self._home.environment.items() if name not in unlike}
        began = time.monotonic()
        pid = os.posix_spawn(self._words[0], self._words, kept, file_actions=_QUIET)
        status = os.waitpid(pid, 0)[1]
        if status:
            raise RuntimeError(f"{self._words} ended with {os.waitstatus_to_exitcode(status)}")
        return 1000 * (time.monotonic() - began)

    def close(self) -> None:
        """Delete the home."""
        self._home.close()


_QUIET = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]


def contestants(size: Size) -> list[Contestant]:
    """Return backburner's commands and interpreters."""
    count = size.pick(10, 5)
    return [
        Command("list", count, PROGRAM, "list"),
        Command("import click", count, sys.executable, "-c", "import click"),
        Command("launch", count, PROGRAM, "launch", "--", "true"),
        Command("bare interpreter", count, sys.executable, "-c", ""),
    ]


SECTION = Section(
    "processes",
    "whole processes, wall time in ms",
    contestants,
    (
        Goal("backburner list", "list/ms", 2.0, ("import click/ms",), at_least=False),
        Goal("backburner launch", "launch/ms", 2.0, ("import click/ms",), at_least=False),
    ),
)
