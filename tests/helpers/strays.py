"""Processes that a test has left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

MARKER = "BACKBURNER_HOME"


def strays(home: Path) -> list[psutil.Process]:
    """The live processes that were started with this home in their environment. Zombies are not alive."""
    return [process for process in psutil.process_iter() if _belongs(process, home)]


def described(processes: list[psutil.Process]) -> str:
    """One line a process: pid, name, state, arguments."""
    return "\n".join(_lines(processes))


def end(processes: list[psutil.Process]) -> None:
    """Kill them and wait until they are gone; psutil makes sure that a pid is still the process it was."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get(MARKER) == str(home) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # gone meanwhile, or another user's
        return False


def _lines(processes: list[psutil.Process]) -> Iterator[str]:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield f"  {process.pid} {process.name()} ({process.status()}): {' '.join(process.cmdline())}"
